"""Gaussian blur kernels."""

import torch
from torch import Tensor

from blindinv.kernels.measure import normalize


def gaussian_kernel(size: int, std: float | tuple[float, float]) -> Tensor:
    """A (1, 1, size, size) Gaussian with standard deviation `std` in pixels (rows, columns), centred at index size // 2.

    Raises:
        ValueError: a std that is not positive.
    """
    sy, sx = (std, std) if isinstance(std, int | float) else std
    if min(sy, sx) <= 0:
        raise ValueError("std must be positive")
    r = torch.arange(size, dtype=torch.float64) - size // 2
    k = torch.exp(-0.5 * (r[:, None] / sy) ** 2 - 0.5 * (r[None, :] / sx) ** 2)
    return normalize(k[None, None].float())
