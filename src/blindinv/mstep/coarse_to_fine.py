"""A classical start for the kernel: coarse to fine, sharp edges by L0 gradient minimisation, kernel from strong gradients.

References: Cho & Lee, "Fast motion deblurring", 2009; Xu, Zheng & Jia, "Unnatural L0 sparse representation for natural
image deblurring", CVPR 2013; Pan et al., "L0-regularized intensity and gradient prior", 2014.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.kernels.measure import normalize, recentre, resize_support
from blindinv.mstep.hqs import KernelPrior
from blindinv.operators.boundary import embed, harmonic_fill
from blindinv.operators.fourier import fft, good_size, gradient_otf, ifft, otf, psf, size_of


@dataclass(frozen=True)
class CoarseToFine:
    """Settings of the start; images on [0, 1].

    Args:
        iterations: image and kernel steps at each scale.
        l0: weight of the L0 gradient term, first and last; it decays by 1.1 a step.
        tikhonov: weight of |k|^2.
        quantiles: share of weak gradients that the kernel step ignores, in the first three iterations of a scale and later.
        prune: kernel values below this share of the maximum are cut ...
        fraction: ... and connected pieces below this share of the mass.
        denoise_from: the kernel denoiser works at scales from here up (1 is full size; above 1: never) ...
        denoise_sigma: ... at this noise level.
        coarsest: kernel size at the coarsest scale, pixels.
        vertical: the first kernel is two pixels one above the other instead of side by side.
    """

    iterations: int = 8
    l0: tuple[float, float] = (4e-2, 1e-3)
    tikhonov: float = 60.0
    quantiles: tuple[float, float] = (0.7, 0.6)
    prune: float = 0.2
    prune_late: float = 0.05
    fraction: float = 0.1
    denoise_from: float = 0.3
    denoise_sigma: float = 1e-3
    coarsest: int = 7
    vertical: bool = False

    def scales(self, size: int) -> list[float]:
        """Scales of the pyramid, coarsest first."""
        n = max(0, math.floor(2 * math.log2(size / self.coarsest)))
        return [2 ** (-i / 2) for i in range(n, -1, -1)]


def prune(k: Tensor, threshold: float, fraction: float) -> Tensor:
    """Cut values below `threshold` of the maximum and 8-connected pieces with less than `fraction` of the mass; normalise."""
    k = k.clamp(min=0)
    k = k * (k > threshold * k.amax((-2, -1), keepdim=True))
    mask = (k > 0).to(k)
    n = k.shape[-1]
    label = mask * torch.arange(1, n * n + 1, device=k.device, dtype=k.dtype).view(1, 1, n, n)
    for _ in range(4 * n):
        spread = F.max_pool2d(label, 3, 1, 1) * mask
        if torch.equal(spread, label):
            break
        label = spread
    index = label.flatten(1).long()
    mass = torch.zeros(len(k), n * n + 1, device=k.device, dtype=k.dtype).scatter_add_(1, index, k.flatten(1))
    share = mass.gather(1, index).view_as(k) / k.sum((-2, -1), keepdim=True).clamp(min=1e-12)
    kept = k * (share >= fraction)
    return normalize(torch.where(kept.sum((-2, -1), keepdim=True) > 0, kept, k))


def _sharpen(Y: Tensor, K: Tensor, weight: float, size: tuple[int, int], dx: Tensor, dy: Tensor, x: Tensor) -> Tensor:
    """argmin_x |k * x - y|^2 + weight |grad x|_0 by half-quadratic splitting."""
    lap, back, power = dx.abs().square() + dy.abs().square(), K.conj() * Y, K.abs().square()
    beta = 2 * weight
    while beta < 1e3:
        f = fft(x)
        gx, gy = ifft(dx * f, size), ifft(dy * f, size)
        strong = gx.square() + gy.square() >= weight / beta
        edges = dx.conj() * fft(gx * strong) + dy.conj() * fft(gy * strong)
        x = ifft((back + beta * edges) / (power + beta * lap), size)
        beta *= 2
    return x


def strong_edges(gx: Tensor, gy: Tensor, inside: Tensor, quantile: float) -> Tensor:
    """1 where the gradient is above its quantile (per sample, inside the frame), else 0."""
    size = (gx.square() + gy.square()).sqrt()
    values = size.flatten(1)[:, inside.flatten() > 0]
    values = values[:, :: max(1, values.shape[1] // 20000)]
    return (size > torch.quantile(values, quantile, dim=1).view(-1, 1, 1, 1)).to(gx) * inside


def shrunk(image: Tensor, scale: float) -> Tensor:
    """The image (B, C, H, W) at a scale of at most 1, at least 8 pixels wide and high."""
    size = [max(8, round(n * scale)) for n in image.shape[-2:]]
    return F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False) if scale < 1 else image


@torch.no_grad()
def coarse_to_fine(
    y: Tensor, kernel_size: int, circular: bool, settings: CoarseToFine, denoiser: KernelPrior | None = None
) -> Iterator[Tensor]:
    """Estimate blur kernels without knowing anything; yields the kernel after each scale, the last one at full size.

    Args:
        y: (B, C, H, W) in [0, 1].
        kernel_size: n of the result, (B, 1, n, n), centred.
        circular: periodic borders; otherwise the frame is continued harmonically.
        settings: see `CoarseToFine`.
        denoiser: of kernels.
    """
    grey = y.mean(1, keepdim=True)
    denoiser = getattr(denoiser, "exact", denoiser)
    k: Tensor | None = None
    weight = settings.l0[0]
    for scale in settings.scales(kernel_size):
        n = min(max(3, round(kernel_size * scale)) // 2 * 2 + 1, kernel_size + 1 - kernel_size % 2)
        level = shrunk(grey, scale)
        if circular:
            inside = torch.ones_like(level[:1])
        else:
            h, w = (good_size(s + n + 2, 2) for s in size_of(level))
            level, inside = embed(level, (h, w))
            level = harmonic_fill(level, inside)
            inside = -F.max_pool2d(-inside, 3, 1, 1)
        size = size_of(level)
        dx, dy = gradient_otf(size, y.device)
        if k is None:
            k = torch.zeros(len(y), 1, n, n, device=y.device, dtype=y.dtype)
            k[..., n // 2, n // 2 - 1 : n // 2 + 1] = 0.5
            k = k.mT if settings.vertical else k
        else:
            k = normalize(F.interpolate(k, (n, n), mode="bicubic", antialias=True, align_corners=False))
        Y = fft(level)
        bx, by = dx * Y, dy * Y
        for i in range(settings.iterations):
            f = fft(_sharpen(Y, otf(k, size), weight, size, dx, dy, level))
            gx, gy = ifft(dx * f, size), ifft(dy * f, size)
            edges = strong_edges(gx, gy, inside, settings.quantiles[0 if i < 3 else 1])
            gx, gy = fft(gx * edges), fft(gy * edges)
            power = gx.abs().square() + gy.abs().square() + settings.tikhonov / 65536
            k = psf((gx.conj() * bx + gy.conj() * by) / power, size, n)
            k = prune(k, settings.prune, settings.fraction)
            if denoiser is not None and scale >= settings.denoise_from:
                k = prune(denoiser(k, settings.denoise_sigma / scale), settings.prune_late, settings.fraction)
            k = recentre(k)[0]
            weight = max(weight / 1.1, settings.l0[1])
        yield resize_support(k, kernel_size)
