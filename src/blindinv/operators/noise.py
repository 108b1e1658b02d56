"""Noise levels: one number per image, or a map where photons make the noise differ from pixel to pixel.

A noise level sigma is (B, 1, 1, 1), or (B, C, H, W) of the shape of the observation, a standard deviation on [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 2.0


def level(sigma: Tensor) -> Tensor:
    """The root mean square of a noise level over an image, (B, 1, 1, 1): what formulas in Fourier space can hold."""
    if sigma.shape[-2:] == (1, 1) and sigma.shape[1] == 1:
        return sigma
    return sigma.square().mean((-3, -2, -1), keepdim=True).sqrt()


def is_map(sigma: Tensor) -> bool:
    """Whether the level differs from pixel to pixel."""
    return sigma.ndim == 4 and sigma[0].numel() > 1


def split(sigma: Tensor) -> tuple[Tensor, Tensor | None]:
    """sigma^2 = base + excess, with one base per image, (B, 1, 1, 1), that formulas in Fourier space can hold.

    The base is the harmonic mean of sigma^2, so that 1 / base is the mean precision of a pixel. The excess, (B, C, H, W), goes
    to `A.residual`; it is None where the level is one number.
    """
    if not is_map(sigma):
        return sigma.square(), None
    base = 1 / sigma.square().reciprocal().mean((-3, -2, -1), keepdim=True)
    return base, sigma.square() - base


def whiten(r: Tensor, sigma: Tensor) -> Tensor:
    """A residual (B, C, H, W) weighed by level(sigma) / sigma, so that it has the same noise everywhere.

    |whiten(r)|^2 is the norm |r|_Lambda^2 of the Poisson likelihood (Chung et al., "Diffusion posterior sampling", 2023,
    eq. 19), scaled so that pure noise has the same mean norm as before and step sizes keep their meaning.
    """
    return r * (level(sigma) / sigma) if is_map(sigma) else r


def poisson_sigma(y: Tensor, photons: float, sigma: float | Tensor = 0.0, smooth: float = SMOOTH) -> Tensor:
    """The noise map of y = Poisson(g A x) / g + sigma n: var(y) = A x / g + sigma^2, with A x estimated from y.

    The estimate is y averaged by a Gaussian window and not below one photon: A x is a blurred picture, and so smooth.

    Args:
        y: (B, C, H, W), not negative.
        photons: g, photons per pixel at white.
        sigma: of additional Gaussian noise on [0, 1], a number or (B, 1, 1, 1).
        smooth: standard deviation of the window, pixels.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: photons is not a positive number, or y has negative values.
    """
    if not (math.isfinite(photons) and photons > 0):
        raise ValueError(f"photons must be a positive number, got {photons}")
    if (y < 0).any():
        raise ValueError(
            f"a count of photons is never negative, but y goes down to {float(y.min()):.3g}: "
            "subtract no background before, clip at 0, or leave photons out"
        )
    mean = _blur(y, smooth).clamp(min=1 / photons)
    return (mean / photons + torch.as_tensor(sigma, dtype=y.dtype, device=y.device) ** 2).sqrt()


def _blur(y: Tensor, width: float) -> Tensor:
    """Average by a separable Gaussian window; near the border by the part of it that lies inside."""
    n = min(math.ceil(3 * width), *(s - 1 for s in y.shape[-2:]))
    window = torch.exp(-0.5 * (torch.arange(-n, n + 1, device=y.device, dtype=y.dtype) / width).square())

    def pass_over(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)[:, None]
        flat = F.conv2d(flat, window.view(1, 1, -1, 1), padding=(n, 0))
        return F.conv2d(flat, window.view(1, 1, 1, -1), padding=(0, n)).view_as(x)

    return pass_over(y) / pass_over(torch.ones_like(y))


def poisson(x: Tensor, photons: float, rng: torch.Generator | None = None) -> Tensor:
    """Poisson noise: counts with mean photons * x, divided by photons, for x >= 0 of any shape."""
    return torch.poisson(photons * x.clamp(min=0), generator=rng) / photons
