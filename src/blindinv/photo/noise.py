"""The noise level of a photo, from the corners of its spectrum, where a blurred picture has nothing left."""

import math

import torch
from torch import Tensor

FLOOR = 0.01
"""Smallest level that is reported, on [0, 1]: the error of the forward model is at least that."""

CORNER = 0.35
LARGEST = 2048


def estimate_sigma(y: Tensor, floor: float = FLOOR) -> Tensor:
    """Standard deviation of the white noise in y.

    With a Hann window w, the power P = |F(w y)|^2 / sum w^2 of white noise is exponential with mean sigma^2, so that
    median(P) = sigma^2 ln 2; the median is taken over |f_x|, |f_y| > 0.35 cycles per pixel and the levels
    of the colour channels are averaged. Of pictures larger than 2048 the middle is looked at.

    Args:
        y: (B, C, H, W) in [0, 1], 8 pixels or more on each side.
        floor: smallest level returned, on [0, 1].

    Returns:
        (B, 1, 1, 1) on [0, 1].

    Raises:
        ValueError: y is smaller than that.
    """
    if y.ndim != 4 or min(y.shape[-2:]) < 8:
        raise ValueError(f"the noise level needs images (B, C, H, W) of 8 pixels or more on each side, got {tuple(y.shape)}")
    top, left = (max(0, (n - LARGEST) // 2) for n in y.shape[-2:])
    y = y[..., top : top + LARGEST, left : left + LARGEST].float()
    h, w = y.shape[-2:]
    rows, cols = (torch.hann_window(n, periodic=False, device=y.device) for n in (h, w))
    window = rows[:, None] * cols
    centred = y - y.mean((-2, -1), keepdim=True)
    power = torch.fft.rfft2(centred * window).abs().square() / window.square().sum()
    high = torch.fft.fftfreq(h, device=y.device).abs() > CORNER
    wide = torch.fft.rfftfreq(w, device=y.device) > CORNER
    median = power[:, :, high][..., wide].flatten(2).median(-1).values
    return (median / math.log(2)).sqrt().mean(1).clamp(min=floor).reshape(-1, 1, 1, 1)


def noise_level(y: Tensor, sigma: float | Tensor | None, photons: float | None) -> float | Tensor:
    """The level of the Gaussian noise: as given, or estimated, or, beside the noise of photons, none."""
    if sigma is not None:
        return sigma
    return estimate_sigma(y) if photons is None else 0.0
