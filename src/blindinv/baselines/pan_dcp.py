"""Blind deblurring with the dark channel prior, without any training.

Blur averages dark pixels with their neighbours, so that the darkest value of each neighbourhood is less often zero in a
blurred picture than in a sharp one. The latent image is therefore asked for a sparse dark channel and sparse gradients:

    min_{x, k} |k * x - y|^2 + gamma |k|^2 + mu |grad x|_0 + lambda |D(x)|_0,    D(x)(p) = min_{q near p} x(q)

Reference: Pan, Sun, Pfister & Yang, "Blind image deblurring using dark channel prior", CVPR 2016 (eqs. 6-14, algorithms 1, 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.baselines.sparse import sparse_deconvolution_canvas
from blindinv.kernels.measure import normalize, recentre, resize_support
from blindinv.mstep.coarse_to_fine import CoarseToFine, prune, shrunk, strong_edges
from blindinv.operators.boundary import embed, harmonic_fill
from blindinv.operators.fourier import fft, good_size, gradient_otf, ifft, otf, psf, size_of
from blindinv.problem import Deblurring
from blindinv.solve import Progress


@dataclass(frozen=True)
class PanDCP:
    """Settings; images on [0, 1].

    Args:
        dark: lambda, weight of the L0 norm of the dark channel (paper: 4e-3) ...
        gradient: mu, weight of the L0 norm of the gradients (paper: 4e-3) ...
        decay: ... both are divided by this after every kernel step, down to `least` (released code: 1.1, 1e-4).
        patch: side of the neighbourhood of the dark channel, pixels (paper: 35).
        growth: factors by which the strengths of the two splittings rise, dark channel and gradients (paper: 2). Faster
            is less thorough, and better: the full minimum has edges sharper than any photo's, and kernels too wide.
        iterations: image and kernel steps at each scale (paper: 5).
        last: further ones at full size.
        tikhonov: gamma, weight of |k|^2 (paper: 2).
        quantiles: share of weak gradients that the kernel step ignores, in the first three iterations of a scale and later.
        prune: kernel values below this share of the maximum are cut ...
        fraction: ... and connected pieces below this share of the mass.
        coarsest: kernel size at the coarsest scale, pixels.
        lam: weight of the sparse gradients in the last, non-blind step; None: by the noise level.
    """

    dark: float = 4e-3
    gradient: float = 4e-3
    decay: float = 1.1
    least: float = 3e-5
    patch: int = 35
    growth: tuple[float, float] = (50.0, 8.0)
    iterations: int = 8
    last: int = 10
    tikhonov: float = 0.5
    quantiles: tuple[float, float] = (0.93, 0.6)
    prune: float = 0.05
    fraction: float = 0.1
    coarsest: int = 7
    lam: float | None = None

    def scales(self, size: int) -> list[float]:
        """Scales at which a kernel of `size` pixels is sought, coarsest first."""
        return CoarseToFine(coarsest=self.coarsest).scales(size)

    def weights(self, step: int) -> tuple[float, float]:
        """Of dark channel and gradients at a step, counted from the first of the coarsest scale."""
        dark, gradient = (max(w / self.decay**step, self.least) if w else 0.0 for w in (self.dark, self.gradient))
        return dark, gradient


def dark_channel(x: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """The minimum of x (B, 1, H, W) in the patch x patch pixels round each pixel, and its flat index, (B, 1, H, W) each."""
    half = (patch // 2, patch - 1 - patch // 2)
    down, row = F.max_pool2d(F.pad(-x, (0, 0, *half), value=-torch.inf), (patch, 1), 1, return_indices=True)
    row = row // x.shape[-1] - half[0]
    least, column = F.max_pool2d(F.pad(down, (*half, 0, 0), value=-torch.inf), (1, patch), 1, return_indices=True)
    column = column % (x.shape[-1] + patch - 1) - half[0]
    return -least, row.gather(-1, column) * x.shape[-1] + column


def without_faint_dark(x: Tensor, threshold: float, patch: int) -> Tensor:
    """x with those pixels zero that are the darkest of some neighbourhood and whose square is below the threshold (eq. 11).

    M^T u of the paper, with M x = D(x) the selection of the darkest pixels and u the hard threshold of D(x); pixels that
    M does not select are kept.
    """
    least, index = dark_channel(x, patch)
    faint = (least.square() < threshold).to(x)
    hit = torch.zeros_like(x).flatten(1).scatter_add_(1, index.flatten(1), faint.flatten(1)).view_as(x)
    return torch.where(hit > 0, torch.zeros_like(x), x)


@dataclass(frozen=True)
class _Latent:
    """argmin_x |k * x - y|^2 + mu |grad x|_0 + lambda |D(x)|_0 by half-quadratic splitting (algorithm 1)."""

    size: tuple[int, int]
    dx: Tensor
    dy: Tensor
    patch: int
    growth: tuple[float, float]

    def solve(self, Y: Tensor, K: Tensor, dark: float, gradient: float, x: Tensor) -> Tensor:
        """x from transfer function K and transformed observation Y, beginning at x (B, 1, H, W)."""
        lap, back, power = self.dx.abs().square() + self.dy.abs().square(), K.conj() * Y, K.abs().square()
        alpha = 4 * dark
        while alpha < 8:
            target = back + alpha * fft(without_faint_dark(x, dark / alpha, self.patch)) if dark else back
            bottom = power + alpha if dark else power
            beta = 2 * gradient
            while beta < 1e3:
                f = fft(x)
                gx, gy = ifft(self.dx * f, self.size), ifft(self.dy * f, self.size)
                strong = gx.square() + gy.square() >= gradient / beta
                edges = self.dx.conj() * fft(gx * strong) + self.dy.conj() * fft(gy * strong)
                x = ifft((target + beta * edges) / (bottom + beta * lap), self.size)
                beta *= self.growth[1]
            alpha = alpha * self.growth[0] if dark else 8
        return x


@dataclass(frozen=True)
class _Kernel:
    """argmin_k sum_i |M (k * g_i - b_i)|^2 + gamma |k|^2 over kernels of n x n pixels (eq. 14).

    Args:
        G: transforms of the gradients g_i of the latent image, two of (B, 1, H, W // 2 + 1).
        mask: M, (1, 1, H, W), one where k * g_i is sure: half a kernel inside the frame.
        gamma: weight of |k|^2.
    """

    G: tuple[Tensor, Tensor]
    mask: Tensor
    gamma: float

    def solve(self, b: tuple[Tensor, Tensor], k: Tensor, iterations: int = 20) -> Tensor:
        """Conjugate gradients from k (B, 1, n, n)."""
        r = self._adjoint(b, k.shape[-1]) - self._normal(k)
        p, rr = r, _dot(r, r)
        for _ in range(iterations):
            q = self._normal(p)
            step = rr / _dot(p, q).clamp(min=1e-20)
            k, r = k + step * p, r - step * q
            new = _dot(r, r)
            p, rr = r + new / rr.clamp(min=1e-20) * p, new
        return k

    def _adjoint(self, r: tuple[Tensor, Tensor], n: int) -> Tensor:
        size = size_of(self.mask)
        correlation = sum(g.conj() * fft(self.mask * part) for g, part in zip(self.G, r, strict=True))
        return size[0] * size[1] * psf(torch.as_tensor(correlation), size, n)

    def _normal(self, k: Tensor) -> Tensor:
        size = size_of(self.mask)
        K = otf(k, size)
        gx, gy = (ifft(K * g, size) for g in self.G)
        return self._adjoint((gx, gy), k.shape[-1]) + self.gamma * k


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-3, -2, -1), keepdim=True)


@dataclass(frozen=True)
class _Scale:
    """One scale of the pyramid: a blurred picture on a torus, and image and kernel steps on it."""

    level: Tensor
    inside: Tensor
    settings: PanDCP

    @classmethod
    def of(cls, grey: Tensor, n: int, circular: bool, settings: PanDCP) -> "_Scale":
        """The picture, continued outside its frame where borders are free; `inside` marks pixels with true gradients."""
        if circular:
            return cls(grey, torch.ones_like(grey[:1]), settings)
        h, w = (good_size(s + n + 2, 2) for s in size_of(grey))
        canvas, inside = embed(grey, (h, w))
        return cls(harmonic_fill(canvas, inside), -F.max_pool2d(-inside, 3, 1, 1), settings)

    def refine(self, k: Tensor, weights: list[tuple[float, float]]) -> Tensor:
        """Image and kernel steps from k (B, 1, n, n), one for each pair of weights (dark channel, gradients)."""
        size, n, s = size_of(self.level), k.shape[-1], self.settings
        dx, dy = gradient_otf(size, k.device)
        latent, Y = _Latent(size, dx, dy, s.patch, s.growth), fft(self.level)
        edge = n // 2 if self.inside.amin() < 1 else 0
        mask = -F.max_pool2d(-self.inside, 2 * edge + 1, 1, edge)
        b = (ifft(dx * Y, size), ifft(dy * Y, size))
        for i, (dark, gradient) in enumerate(weights):
            f = fft(latent.solve(Y, otf(k, size), dark, gradient, self.level))
            gx, gy = ifft(dx * f, size), ifft(dy * f, size)
            edges = strong_edges(gx, gy, self.inside, s.quantiles[0 if i < 3 else 1])
            k = _Kernel((fft(gx * edges), fft(gy * edges)), mask, s.tikhonov).solve(b, k)
            k = recentre(prune(k, s.prune, s.fraction))[0]
        return k


@torch.no_grad()
def dark_channel_kernels(y: Tensor, kernel_size: int, circular: bool, settings: PanDCP) -> Iterator[Tensor]:
    """Blur kernels by alternation of image and kernel steps (algorithm 2); yields after each scale, the last at full size.

    Args:
        y: (B, C, H, W) in [0, 1]; its colours are averaged.
        kernel_size: n of the result, (B, 1, n, n), centred.
        circular: periodic borders; otherwise the frame is continued harmonically.
        settings: see `PanDCP`.
    """
    grey, k, done = y.mean(1, keepdim=True), None, 0
    for scale in settings.scales(kernel_size):
        n = min(max(3, round(kernel_size * scale)) // 2 * 2 + 1, kernel_size + 1 - kernel_size % 2)
        k = _first(len(y), n).to(y) if k is None else _resized(k, n)
        count = settings.iterations + (settings.last if scale == 1 else 0)
        weights = [settings.weights(done + i) for i in range(count)]
        k = _Scale.of(shrunk(grey, scale), n, circular, settings).refine(k, weights)
        done += count
        yield resize_support(k, kernel_size)


def _first(batch: int, n: int) -> Tensor:
    k = torch.zeros(batch, 1, n, n)
    k[..., n // 2, n // 2 - 1 : n // 2 + 1] = 0.5
    return k


def _resized(k: Tensor, n: int) -> Tensor:
    return normalize(F.interpolate(k, (n, n), mode="bicubic", antialias=True, align_corners=False))


def pan_dcp(problem: Deblurring, settings: PanDCP = PanDCP()) -> Iterator[Progress]:
    """Recover image and kernel; yields after each scale and after the last, non-blind step.

    The image of the steps before the last is the observation on its canvas. A known kernel leaves only the last step:
    deconvolution with sparse gradients (`baselines.sparse`), in place of the paper's, which is the same kind.

    Args:
        problem: what to deblur; colours are averaged to find the kernel.
        settings: see `PanDCP`.
    """
    total = 1
    k, shown = problem.kernel, embed(problem.y, problem.canvas)[0]
    if k is None:
        total += len(settings.scales(problem.kernel_size))
        for i, k in enumerate(dark_channel_kernels(problem.y, problem.kernel_size, problem.circular, settings)):
            yield Progress(i + 1, total, 0, True, k, shown, shown)
        assert k is not None
        k = recentre(k)[0]
    x = sparse_deconvolution_canvas(replace(problem, kernel=k), settings.lam)
    yield Progress(total, total, 0, True, k, x, x)
