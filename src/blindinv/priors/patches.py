"""A network of patches: pixels are gathered into channels before it and spread after it, so that it is cheap at full size."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Patches(nn.Module):
    """network(pixel_unshuffle(x), t), shuffled back: lossless, and one evaluation costs 1 / factor^2 as much.

    Height and width that do not fit are filled up with zeros, and cut again.

    Args:
        network: called as `network(x, t)`, factor^2 times as many channels in and out as this one (a tensor or an object
            with `.sample`).
        factor: side of a patch.
        multiple: height and width of the network's own input must be multiples of this.
    """

    def __init__(self, network: nn.Module, factor: int, multiple: int = 1) -> None:
        super().__init__()
        self.network, self.factor, self.multiple = network, factor, multiple

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W) and (B,) integer -> (B, C', H, W)."""
        h, w = x.shape[-2:]
        step = self.factor * self.multiple
        x = F.pad(x, (0, -w % step, 0, -h % step)) if h % step or w % step else x
        x = F.pixel_unshuffle(x, self.factor).contiguous(memory_format=torch.channels_last)
        out: Any = self.network(x, t)
        return F.pixel_shuffle(getattr(out, "sample", out), self.factor)[..., :h, :w]
