"""The kernels that the operator prior of BlindDPS is trained on: five parts camera shake, one part Gaussian blur.

Reference: Chung et al., "Parallel diffusion models of operator and image for blind inverse problems", CVPR 2023,
supplement F.1 (60,000 kernels of 64x64 pixels: 50,000 of motion, 10,000 Gaussian).
"""

import torch
from torch import Tensor

from blindinv.kernels.measure import normalize
from blindinv.kernels.motion import motion_kernels

GAUSSIAN_SHARE = 1 / 6
INTENSITY = (0.2, 1.0)
STD = (0.1, 5.0)
CHUNK = 1000


def gaussian_kernels(size: int, std: Tensor) -> Tensor:
    """Isotropic Gaussians (B, 1, size, size) of standard deviations `std` (B,) in pixels, sum 1, centred at size // 2."""
    r = torch.arange(size, dtype=torch.float64) - size // 2
    rows = torch.exp(-0.5 * (r / std.double()[:, None]) ** 2)
    return normalize((rows[:, None, :, None] * rows[:, None, None, :]).float())


def mixed_kernels(batch: int, size: int = 64, generator: torch.Generator | None = None) -> Tensor:
    """Random kernels (batch, 1, size, size), non-negative, sum 1, centre of mass at index size // 2.

    Each is of motion with probability 5/6 (intensity uniform in [0.2, 1]), else an isotropic Gaussian (standard deviation
    uniform in [0.1, 5] pixels of a 64x64 kernel, in proportion at other sizes).

    Args:
        size: 9 to 129.

    Raises:
        ValueError: size out of range.
    """
    intensity = INTENSITY[0] + (INTENSITY[1] - INTENSITY[0]) * torch.rand(batch, generator=generator)
    std = (STD[0] + (STD[1] - STD[0]) * torch.rand(batch, generator=generator)) * size / 64
    gaussian = torch.rand(batch, generator=generator) < GAUSSIAN_SHARE
    motion = motion_kernels(batch, size, intensity, generator)
    return torch.where(gaussian.view(-1, 1, 1, 1), gaussian_kernels(size, std.clamp(min=STD[0])), motion)


def kernel_bank(count: int, size: int = 64, seed: int = 0) -> Tensor:
    """`count` mixed kernels, each over its maximum, as bytes: (count, 1, size, size) uint8 (60,000 of 64x64: 246 MB)."""
    bank, generator = torch.empty(count, 1, size, size, dtype=torch.uint8), torch.Generator().manual_seed(seed)
    for part in bank.split(CHUNK):
        k = mixed_kernels(len(part), size, generator)
        part.copy_(255 * k / k.amax((-2, -1), keepdim=True) + 0.5)
    return bank


def symmetries(k: Tensor, which: Tensor) -> Tensor:
    """Turned and mirrored kernels, the origin kept at index n // 2.

    Args:
        k: (B, 1, n, n).
        which: (B,) integers in 0..7: bit 0 transposes, bit 1 mirrors the rows, bit 2 the columns.
    """
    back = 1 - k.shape[-1] % 2  # an even mirror moves the origin from n // 2 to n // 2 - 1
    bits = which.view(-1, 1, 1, 1)
    k = torch.where((bits & 1).bool(), k.transpose(-2, -1), k)
    k = torch.where((bits & 2).bool(), k.flip(-2).roll(back, -2), k)
    return torch.where((bits & 4).bool(), k.flip(-1).roll(back, -1), k)
