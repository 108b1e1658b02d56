"""A warm start: the inner weights of a UNet from those of another prior of the same channels."""

from pathlib import Path

import torch
from torch import nn

from blindinv.zoo.shipped import SHIPPED, WEIGHTS, read_weights


@torch.no_grad()
def warm_start(unet: nn.Module, name: str) -> None:
    """Copy every weight whose name and shape agree; the first and the last convolution usually differ and stay as they are.

    Args:
        unet: changed in place.
        name: of a shipped prior, or a weights file of `blindinv train prior` or `blindinv train pixel-prior`.

    Raises:
        ValueError: neither, or a UNet of other channels.
    """
    path = WEIGHTS / f"{name}.safetensors" if name in SHIPPED else Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"--warm-start {name}: give {', '.join(SHIPPED)}, or an existing weights file")
    tensors, _ = read_weights(path)
    weights = {k.rsplit("network.", 1)[-1]: v for k, v in tensors.items() if "network." in k}
    own = unet.state_dict()
    agree = [k for k in own if k in weights and weights[k].shape == own[k].shape]
    if len(agree) < 0.9 * len(own):
        raise ValueError(f"--warm-start {name}: that network has other channels; choose the same --channels")
    for k in agree:
        own[k].copy_(weights[k])
