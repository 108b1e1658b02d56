"""How near a restored image and its kernel are to the truth. Images are (B, C, H, W) in [0, 1], figures are (B,).

Blind deconvolution cannot know where the image lies: a shifted kernel and an image shifted the other way explain the
same picture. Image figures are therefore taken after the best shift.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from blindinv.kernels.measure import kernel_mse, mnc, roll_each

__all__ = ["best_shift", "kernel_mse", "levin_psnr", "mnc", "psnr", "ssim"]

FLOOR = 1e-12


def _decibel(mse: Tensor) -> Tensor:
    return -10 * mse.clamp(min=FLOOR).log10()


def _check(x: Tensor, truth: Tensor) -> None:
    if x.shape != truth.shape or x.ndim != 4:
        raise ValueError(f"two (B, C, H, W) batches of one shape are needed, got {tuple(x.shape)} and {tuple(truth.shape)}")


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all channels, (B,); 120 dB for equal images.

    Args:
        x: (B, C, H, W), clipped to [0, 1].
        truth: the same shape, in [0, 1].

    Raises:
        ValueError: the shapes differ.
    """
    _check(x, truth)
    return _decibel((x.clamp(0, 1) - truth.clamp(0, 1)).square().flatten(1).mean(1))


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity, (B,): Gaussian window of 11 pixels and standard deviation 1.5, range 1, mean over the channels
    and over the windows that lie wholly inside the image.

    Reference: Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.

    Args:
        x: (B, C, H, W), clipped to [0, 1]; at least 11 pixels each way.
        truth: the same shape, in [0, 1].

    Raises:
        ValueError: the shapes differ.
    """
    _check(x, truth)
    images = (x.clamp(0, 1), truth.clamp(0, 1))
    _, image = structural_similarity_index_measure(*images, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True)
    return _window(image, 5).flatten(1).mean(1)


def _window(x: Tensor, crop: int) -> Tensor:
    h, w = x.shape[-2:]
    if 2 * crop >= min(h, w):
        raise ValueError(f"nothing is left of a {h}x{w} image after a crop of {crop} pixels on each side")
    return x[..., crop : h - crop, crop : w - crop]


def _shift_errors(x: Tensor, truth: Tensor, radius: int, crop: int) -> Tensor:
    """Squared errors (B, 2r + 1, 2r + 1) inside the crop for every circular shift of x within the radius.

    sum_p w(p) (x(p - s) - b(p))^2, expanded into two cross-correlations (and a constant), each one FFT product.
    """
    h, w = x.shape[-2:]
    inside = torch.zeros(h, w, dtype=torch.float64, device=x.device)
    _window(inside, crop).fill_(1)
    x, b = x.clamp(0, 1).double(), truth.clamp(0, 1).double() * inside
    power = torch.fft.rfft2(inside) * torch.fft.rfft2(x.square().sum(1)).conj()
    cross = (torch.fft.rfft2(b) * torch.fft.rfft2(x).conj()).sum(1)
    errors = torch.fft.irfft2(power - 2 * cross, (h, w)) + b.square().sum((1, 2, 3)).view(-1, 1, 1)
    rows, cols = (torch.arange(-radius, radius + 1, device=x.device) % n for n in (h, w))
    return errors[:, rows[:, None], cols[None, :]]


def best_shift(x: Tensor, truth: Tensor, radius: int = 8, crop: int = 0) -> tuple[Tensor, Tensor]:
    """Roll each x by the whole pixels, at most `radius` each way, that bring it nearest to the truth.

    Args:
        x: (B, C, H, W) in [0, 1].
        truth: the same shape.
        radius: largest shift in pixels.
        crop: pixels on each side that do not count in the choice (the returned image is not cropped).

    Returns:
        the rolled images and their shifts (B, 2), rows then columns: aligned[b] = roll(x[b], shift[b]).

    Raises:
        ValueError: the shapes differ, or nothing is left after the crop.
    """
    _check(x, truth)
    errors = _shift_errors(x, truth, radius, crop)
    index, side = errors.flatten(1).argmin(1), 2 * radius + 1
    shift = torch.stack([index // side, index % side], -1) - radius
    return roll_each(x, shift), shift


def _spline_shifts(n: int, offsets: list[float], crop: int) -> Tensor:
    """Matrices (len(offsets), n - 2 crop, n) that shift a row of n pixels by each offset with cubic splines, then crop it."""
    eye = np.eye(n)
    moved = [ndimage.shift(eye, (d, 0.0), order=3, mode="mirror") if d else eye for d in offsets]
    return torch.from_numpy(np.stack(moved))[:, crop : n - crop]


def levin_psnr(x: Tensor, truth: Tensor, radius: int = 10, crop: int = 15, step: float = 0.25) -> Tensor:
    """PSNR by the protocol of Levin et al., "Understanding and evaluating blind deconvolution algorithms", CVPR 2009, (B,).

    The best shift within `radius` pixels in steps of `step`, judged without `crop` pixels on each side: first the best
    whole-pixel shift by FFT, then all sub-pixel shifts less than a pixel away from it, by cubic spline interpolation.

    Args:
        x: (B, C, H, W) in [0, 1].
        truth: the same shape.
        radius: largest shift in pixels.
        crop: pixels on each side that do not count.
        step: of the shifts, pixels.

    Raises:
        ValueError: the shapes differ, or the crop is smaller than the radius (rolled-in pixels would count).
    """
    if crop < radius:
        raise ValueError(f"crop {crop} is smaller than radius {radius}: pixels rolled in from the other side would count")
    rolled, shift = best_shift(x, truth, radius, crop)
    count = round(1 / step) - 1
    offsets = [step * i for i in range(-count, count + 1)]
    down, right = (_spline_shifts(n, offsets, crop).to(x.device) for n in x.shape[-2:])
    b, rolled = _window(truth.clamp(0, 1).double(), crop), rolled.clamp(0, 1).double()
    errors = torch.empty(len(x), len(offsets), len(offsets), dtype=torch.float64, device=x.device)
    for i, rows in enumerate(down):
        part = rows @ rolled
        for j, cols in enumerate(right):
            errors[:, i, j] = (part @ cols.T - b).square().flatten(1).mean(1)
    total = shift.double()[:, :, None] + torch.tensor(offsets, dtype=torch.float64, device=x.device)
    outside = total.abs() > radius
    errors = errors.masked_fill(outside[:, 0, :, None] | outside[:, 1, None, :], torch.inf)
    return _decibel(errors.flatten(1).amin(1)).to(x.dtype)
