"""The sRGB transfer curve (IEC 61966-2-1), exact and piecewise."""

import torch
from torch import Tensor


def to_linear(x: Tensor) -> Tensor:
    """sRGB values in [0, 1] -> linear light in [0, 1]: x / 12.92 up to 0.04045, ((x + 0.055) / 1.055)^2.4 above."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(x: Tensor) -> Tensor:
    """Linear light in [0, 1] -> sRGB values in [0, 1]; the inverse of `to_linear`."""
    low = 0.0031308
    return torch.where(x <= low, 12.92 * x, 1.055 * x.clamp(min=low) ** (1 / 2.4) - 0.055)
