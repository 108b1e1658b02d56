"""Tilt maps of atmospheric turbulence, by the simulator of BlindDPS (Chung et al., CVPR 2023, supplement)."""

import torch
from torch import Tensor

from blindinv.operators.fourier import otf

PATCH = 64
DENSITY = 500 / 256**2
AMPLITUDE = (0.1, 0.4)
WINDOW, STD = 7, 1.0
LARGEST = 2.5


def tilt_maps(batch: int, size: tuple[int, int], generator: torch.Generator | None = None, strength: float = 1.0) -> Tensor:
    """Displacement fields in pixels, (batch, 2, H, W): channel 0 along the columns (x), channel 1 along the rows (y).

    Patches of 64 x 64 white noise, smoothed by a 7 x 7 Gaussian of standard deviation 1, each times U(0.1, 0.4), are added
    at random places: 500 on the area of 256 x 256, as many for other areas in proportion. Patches may reach over the
    edges, so that the law of the field is the same everywhere. Given places and amplitudes, a sum of windows a_i w_i of
    white noise is white noise with the variance sum a_i^2 w_i: that is what is drawn, then smoothed; the cost does not
    depend on the number of patches. The standard deviation is about 0.41 pixels.

    Args:
        batch: number of maps.
        size: (H, W).
        generator: of all random numbers; the maps are on its device.
        strength: times the field; it is clipped to 2.5 strength pixels.

    Raises:
        ValueError: strength is negative or not finite, or size is not positive.
    """
    if not 0 <= strength < float("inf") or min(size) < 1:
        raise ValueError(f"tilt maps need a finite strength that is not negative and a positive size, got {strength} and {size}")
    h, w = size[0] + WINDOW - 1, size[1] + WINDOW - 1
    device = torch.device("cpu") if generator is None else generator.device
    white = torch.randn(batch, 2, h, w, generator=generator, device=device)
    field = _smooth(white * _variance(batch, (h, w), generator, device).sqrt())
    return strength * field.clamp(-LARGEST, LARGEST)


def tilt_power(size: tuple[int, int], strength: float = 1.0, device: torch.device | str = "cpu") -> Tensor:
    """Power spectrum of each component of `tilt_maps` on a torus of `size`, orthonormal half plane (H, W // 2 + 1), pixels^2.

    That of white noise with the mean variance density * 64^2 * E[a^2], smoothed. The field is nearly Gaussian (some 31
    patches overlap), so this is nearly all there is to know of it.

    Raises:
        ValueError: a size below that of the smoothing window.
    """
    low, high = AMPLITUDE
    variance = DENSITY * PATCH**2 * (high**3 - low**3) / (3 * (high - low))
    g = _window(torch.device(device))
    return strength**2 * variance * otf((g[:, None] * g)[None, None], size)[0, 0].abs().square()


def _window(device: torch.device) -> Tensor:
    g = torch.exp(-0.5 * ((torch.arange(WINDOW, device=device) - WINDOW // 2) / STD).square())
    return g / g.sum()


def _variance(batch: int, size: tuple[int, int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """sum a_i^2 w_i, (batch, 1, H, W): squares as differences at their four corners, summed up along both axes."""
    h, w = size
    count = round(DENSITY * (h + PATCH - 1) * (w + PATCH - 1))
    u = torch.rand(3, batch, count, generator=generator, device=device, dtype=torch.float64)
    top, left = ((u[i] * (n + PATCH - 1)).long() - PATCH + 1 for i, n in enumerate((h, w)))
    power = (AMPLITUDE[0] + (AMPLITUDE[1] - AMPLITUDE[0]) * u[2]).square()
    corners = torch.zeros(batch, (h + 1) * (w + 1), device=device, dtype=torch.float64)
    for row, col, sign in ((0, 0, 1), (0, PATCH, -1), (PATCH, 0, -1), (PATCH, PATCH, 1)):
        index = (top + row).clamp(0, h) * (w + 1) + (left + col).clamp(0, w)
        corners.scatter_add_(1, index, sign * power)
    total = corners.view(batch, 1, h + 1, w + 1).cumsum(-2).cumsum(-1)[..., :h, :w]
    return total.clamp(min=0).float()


def _smooth(x: Tensor) -> Tensor:
    """Convolve with the Gaussian, inside only: (B, C, H + 6, W + 6) -> (B, C, H, W)."""
    weights, (h, w) = _window(torch.device("cpu")).tolist(), (n - WINDOW + 1 for n in x.shape[-2:])
    x = torch.stack([weight * x[..., i : i + h, :] for i, weight in enumerate(weights)]).sum(0)
    return torch.stack([weight * x[..., i : i + w] for i, weight in enumerate(weights)]).sum(0)


def end_point_error(tilt: Tensor, truth: Tensor) -> Tensor:
    """Mean length of tilt - truth in pixels, (B,), after the mean of the difference is taken away.

    A constant tilt is a shift of the image, which nobody can know.

    Args:
        tilt: (B, 2, H, W).
        truth: the same shape.
    """
    difference = tilt - truth
    return (difference - difference.mean((-2, -1), keepdim=True)).square().sum(1).sqrt().mean((-2, -1))
