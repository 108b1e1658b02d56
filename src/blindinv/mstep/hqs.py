"""The kernel M-step: half-quadratic splitting with a plug-and-play, l1 or l2 prior."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.kernels.measure import normalize, recentre
from blindinv.operators.convolution import Convolution
from blindinv.operators.fourier import Spectrum, fft, otf, psf, size_of
from blindinv.operators.noise import split

KernelPrior = Callable[[Tensor, float], Tensor]


def l1(k: Tensor, sigma: float) -> Tensor:
    """Proximal operator of sigma^2 |k|_1: soft threshold."""
    return k.sign() * (k.abs() - sigma**2).clamp(min=0)


def l2(k: Tensor, sigma: float) -> Tensor:
    """Proximal operator of sigma^2 |k|^2 / 2: shrinkage."""
    return k / (1 + sigma**2)


@dataclass(frozen=True)
class DataStep:
    """argmin_Z 1/2 |y - Z * x|^2_W + delta/2 |Z - k|^2 in closed form, over all colour channels (LatentDEM, eqs. 11, 18).

    Attributes:
        top, bottom: W sum_c conj(X_c) Y_c and W sum_c |X_c|^2, (B, 1, H, W // 2 + 1).
        size: (H, W).
    """

    top: Tensor
    bottom: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, y: Tensor, x: Tensor, weight: Tensor) -> "DataStep":
        """From images on the torus.

        Args:
            y: (B, C, H, W).
            x: (B, C, H, W).
            weight: W, inverse noise power per frequency, broadcastable to (B, 1, H, W // 2 + 1).
        """
        X, Y = fft(x), fft(y)
        top, bottom = (X.conj() * Y).sum(1, keepdim=True), X.abs().square().sum(1, keepdim=True)
        return cls(top * weight, bottom * weight, size_of(y))

    def __call__(self, k: Tensor, delta: float) -> Tensor:
        """The minimiser (B, 1, n, n), cut to the support of k.

        Args:
            k: (B, 1, n, n), the current kernel.
            delta: strength of the split.
        """
        # ortho transforms carry 1/sqrt(N); the kernel's transfer function does not: N appears once, at delta.
        hold = delta / (self.size[0] * self.size[1])
        return psf((self.top + hold * otf(k, self.size)) / (self.bottom + hold), self.size, k.shape[-1])


@dataclass(frozen=True)
class HQS:
    """k <- argmax log p(y | x_hat, k) + log p(k), by half-quadratic splitting (LatentDEM, eqs. 17-19).

    Args:
        A: the forward model.
        prior: denoiser of kernels, called with the noise level sqrt(lam / delta); or `l1`, `l2`.
        delta: strength of the split (paper: 5e6).
        lam: weight of the prior (paper: 1).
        iterations: data and prior steps (paper: 20).
        spectrum: if given, x_hat is known to be wrong by this power at t, and frequencies are weighted by
            1 / (sigma^2 + |K|^2 R_t) instead of 1 / sigma^2 (appendix A's nu_t, per frequency).
        momentum: the new kernel is momentum * old + (1 - momentum) * estimate.
        centre: roll the kernel to its centre of mass after each M-step, as the released code does. The image
            that goes with it moves too, so leave this off when a good kernel is only refined.
    """

    A: Convolution
    prior: KernelPrior
    delta: float = 5e6
    lam: float = 1.0
    iterations: int = 20
    spectrum: Spectrum | None = None
    momentum: float = 0.0
    centre: bool = False

    @torch.no_grad()
    def __call__(self, y: Tensor, x: Tensor, k: Tensor, t: int, sigma: Tensor) -> Tensor:
        """One M-step.

        Args:
            y: (B, C, H, W) the observation.
            x: (B, C, H', W') the posterior mean at t, on the canvas.
            k: (B, 1, n, n).
            t: timestep, for the error spectrum.
            sigma: (B, 1, 1, 1) noise level, or a map (B, C, H, W): then the gradient in k is exact and its curvature
                that of the mean precision.
        """
        step, estimate = self._step(y, x, k, t, sigma), k
        for _ in range(self.iterations):
            z = normalize(step(estimate, self.delta))
            estimate = normalize(self.prior(z, math.sqrt(self.lam / self.delta)))
        new = self.momentum * k + (1 - self.momentum) * estimate
        return recentre(new)[0] if self.centre else new

    @torch.no_grad()
    def squares(self, y: Tensor, x: Tensor, k: Tensor, t: int, sigma: Tensor, deltas: Sequence[float]) -> Tensor:
        """Weighted least squares without a prior, held to k by each of `deltas`: (B, len(deltas), n, n), signed.

        Args:
            y, x, k, t, sigma: see `__call__`.
            deltas: strengths of the hold.
        """
        step = self._step(y, x, k, t, sigma)
        return torch.cat([step(k, delta) for delta in deltas], 1)

    def _step(self, y: Tensor, x: Tensor, k: Tensor, t: int, sigma: Tensor) -> DataStep:
        """With the observation on the canvas, filled where it was not seen, and its inverse noise power per frequency."""
        size = size_of(x)
        power = torch.zeros((), device=x.device) if self.spectrum is None else self.spectrum(t, size, x.device)
        base, excess = split(sigma)
        noise = base + otf(k, size).abs().square() * power
        return DataStep.of(self.A.residual(y, x, k, noise, excess) + self.A(x, k), x, 1 / noise)
