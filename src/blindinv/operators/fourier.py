"""Fourier helpers shared by operators, guidance and M-steps. All transforms are real and orthonormal ('ortho')."""

import math
from functools import lru_cache

import torch
from torch import Tensor


def size_of(x: Tensor) -> tuple[int, int]:
    """(H, W) of (..., H, W)."""
    return x.shape[-2], x.shape[-1]


def fft(x: Tensor) -> Tensor:
    """Orthonormal real FFT over the last two axes: (..., H, W) -> (..., H, W // 2 + 1)."""
    return torch.fft.rfft2(x, norm="ortho")


def ifft(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Inverse of `fft`, to (..., *size)."""
    return torch.fft.irfft2(x, size, norm="ortho")


def otf(k: Tensor, size: tuple[int, int]) -> Tensor:
    """Transfer function of kernels (B, 1, n, n) with origin at n // 2, on a torus of `size`.

    Returns:
        (B, 1, H, W // 2 + 1), not normalised.

    Raises:
        ValueError: the kernel is larger than the torus.
    """
    n, m = k.shape[-2:]
    if n > size[0] or m > size[1]:
        raise ValueError(f"a {n}x{m} kernel does not fit an image of {size[0]}x{size[1]}")
    padded = torch.nn.functional.pad(k, (0, size[1] - m, 0, size[0] - n))
    return torch.fft.rfft2(padded.roll((-(n // 2), -(m // 2)), (-2, -1)))


def psf(K: Tensor, size: tuple[int, int], n: int) -> Tensor:
    """The n x n neighbourhood of the origin of the kernels with transfer functions `K`; left inverse of `otf`."""
    return torch.fft.irfft2(K, size).roll((n // 2, n // 2), (-2, -1))[..., :n, :n]


def moved(x: Tensor, by: Tensor) -> Tensor:
    """Images (B, C, H, W) on a torus, moved by fractions of a pixel without blur.

    Args:
        x: the images.
        by: (B, 2) rows and columns to move by.
    """
    h, w = size_of(x)
    fy, fx = torch.fft.fftfreq(h, device=x.device), torch.fft.rfftfreq(w, device=x.device)
    turns = by[:, 0, None, None] * fy[:, None] + by[:, 1, None, None] * fx
    return ifft(fft(x) * torch.exp(-2j * math.pi * turns)[:, None], (h, w))


@lru_cache(maxsize=64)
def _radius(h: int, w: int, device: torch.device) -> Tensor:
    fy, fx = torch.fft.fftfreq(h, device=device), torch.fft.rfftfreq(w, device=device)
    return (fy[:, None].square() + fx[None, :].square()).sqrt()


def radius(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Radial frequency in cycles per pixel, (H, W // 2 + 1), 0 to sqrt(1/2)."""
    return _radius(*size, torch.device(device))


def gradient_otf(size: tuple[int, int], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Transfer functions of the forward differences along columns (x) and rows (y)."""
    fy, fx = torch.fft.fftfreq(size[0], device=device), torch.fft.rfftfreq(size[1], device=device)
    dx = torch.exp(2j * math.pi * fx)[None, :] - 1 + 0 * fy[:, None]
    dy = torch.exp(2j * math.pi * fy)[:, None] - 1 + 0 * fx[None, :]
    return dx, dy


def good_size(n: int, multiple: int = 16) -> int:
    """The smallest length >= n that is a multiple of `multiple` and otherwise has no prime factor above 5."""
    n = -(-n // multiple) * multiple
    while True:
        rest = n // multiple
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += multiple


def half_plane_weights(width: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """(W // 2 + 1,): how often each column of a real FFT's half plane stands in the whole plane, 2 but for 0 and Nyquist."""
    weight = torch.full((width // 2 + 1,), 2.0, device=device, dtype=dtype)
    weight[0] = 1.0
    if width % 2 == 0:
        weight[-1] = 1.0
    return weight


class Spectrum:
    """A radial power spectrum for each of a few noise levels t, at any image size and any t between them.

    Args:
        levels: increasing timesteps t.
        power: (len(levels), bins) mean of |fft|^2 (orthonormal, on the scale of images in [0, 1]) in rings of equal width.
    """

    def __init__(self, levels: list[int], power: Tensor) -> None:
        self.levels, self.power = levels, power
        self._cache: dict[tuple[float, int, int, torch.device], Tensor] = {}

    @staticmethod
    def rings(power: Tensor, size: tuple[int, int], bins: int = 64) -> Tensor:
        """Mean of a half-plane power (H, W // 2 + 1) in each ring, (bins,); empty rings take their neighbour's value."""
        index = (radius(size, power.device) / math.sqrt(0.5) * bins).long().clamp(max=bins - 1).flatten()
        weight = half_plane_weights(size[1], power.device, power.dtype).expand(size[0], -1).flatten()
        total = torch.zeros_like(power[0, 0]).repeat(bins).scatter_add_(0, index, power.flatten() * weight)
        count = torch.zeros_like(total).scatter_add_(0, index, weight)
        out = total / count.clamp(min=1)
        for i in range(1, bins):
            if count[i] == 0:
                out[i] = out[i - 1]
        return out

    def __call__(self, t: float, size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """(H, W // 2 + 1): log-linear interpolation in t and in frequency."""
        key = (float(t), *size, torch.device(device))
        if key not in self._cache:
            if len(self._cache) > 256:
                self._cache.clear()
            self._cache[key] = self._interpolate(float(t), size).to(device)
        return self._cache[key]

    def _interpolate(self, t: float, size: tuple[int, int]) -> Tensor:
        log = self.power.detach().cpu().float().clamp(min=1e-12).log()
        hi = next((i for i, level in enumerate(self.levels) if level >= t), len(self.levels) - 1)
        lo = max(0, hi - 1)
        span = self.levels[hi] - self.levels[lo]
        a = min(1.0, max(0.0, (t - self.levels[lo]) / span)) if span else 1.0
        ring = (1 - a) * log[lo] + a * log[hi]
        bins = len(ring)
        f = (radius(size) / math.sqrt(0.5) * bins - 0.5).clamp(0, bins - 1)
        low = f.long()
        w = f - low
        return ((1 - w) * ring[low] + w * ring[(low + 1).clamp(max=bins - 1)]).exp()
