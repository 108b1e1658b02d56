"""Sparsity of a diffused kernel, measured before it is normalised: its sum afterwards is one and says nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.protocols import Estimate

Norm = Callable[[Tensor], Tensor]


def l1(k: Tensor) -> Tensor:
    """Sum of absolute values, (B,)."""
    return k.abs().sum((1, 2, 3))


def l0(k: Tensor, width: float = 0.1) -> Tensor:
    """A smooth count of the pixels that are not zero, (B,): k^2 / (k^2 + width^2) summed (Geman & McClure, 1985)."""
    return (k.square() / (k.square() + width**2)).sum((1, 2, 3))


@dataclass(frozen=True)
class Sparsity:
    """The norm of a diffused kernel on the scale where its largest value is about one (BlindDPS, section 3.3).

    Args:
        raw: E[z_0 | z_t] of the part -> the kernel before it is normalised, as `KernelDiffusion.raw`.
        norm: `l1` or `l0`.
        part: name of the part.
    """

    raw: Callable[[Tensor], Tensor]
    norm: Norm = l1
    part: str = "kernel"

    def __call__(self, e: Estimate) -> Tensor:
        """(B,); zero where the part is not diffused."""
        if self.part not in e.parts:
            return torch.zeros(len(e.y), device=e.y.device)
        return self.norm(self.raw(e.parts[self.part].z0))
