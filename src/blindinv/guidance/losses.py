"""Losses of the posterior mean, one number per sample."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.operators.convolution import Convolution
from blindinv.operators.fourier import Spectrum, fft, half_plane_weights, ifft, otf
from blindinv.operators.noise import level, split, whiten
from blindinv.protocols import Estimate, Forward, Loss


def _norm2(r: Tensor) -> Tensor:
    return r.square().sum((-3, -2, -1))


@dataclass(frozen=True)
class Measurement:
    """|y - A_phi(x0)|^2 (DPS, Chung et al. 2023; LatentDEM, eq. 8), or its root.

    Where the noise level is a map, as under Poisson noise, this is the weighted norm |y - A_phi(x0)|_Lambda (see `whiten`).

    Args:
        A: forward model.
        root: the norm instead of its square, as the released codes use.
        scale: images are compared after multiplication by this (2 for the published [-1, 1] scale).
    """

    A: Forward
    root: bool = True
    scale: float = 2.0

    def __call__(self, e: Estimate) -> Tensor:
        """(B,)."""
        r = self.A.frame(self.A(e.x0, e.phi), (e.y.shape[-2], e.y.shape[-1])) - e.y
        squared = self.scale**2 * _norm2(whiten(r, e.sigma))
        return squared.clamp(min=1e-12).sqrt() if self.root else squared

    def noise(self, e: Estimate) -> Tensor:
        """What this loss is about for the true image, (B,)."""
        squared = self.scale**2 * level(e.sigma).flatten().square() * e.y[0].numel()
        return squared.sqrt() if self.root else squared


@dataclass(frozen=True)
class Glue:
    """|z0 - E(A^T y + (I - A^T A) x0)|^2 (PSLD, Rout et al. 2023; LatentDEM, eq. 16), or its root, with the true adjoint.

    Where the noise level is a map, A and y are weighed as in `Measurement`.

    Args:
        A: forward model.
        encode: the prior's encoder.
        root: the norm instead of its square, as the released codes use.
    """

    A: Convolution
    encode: Callable[[Tensor], Tensor]
    root: bool = True

    def __call__(self, e: Estimate) -> Tensor:
        """(B,)."""
        size, frame = (e.x0.shape[-2], e.x0.shape[-1]), (e.y.shape[-2], e.y.shape[-1])
        r = whiten(whiten(e.y - self.A.frame(self.A(e.x0, e.phi), frame), e.sigma), e.sigma)
        squared = _norm2(e.z0 - self.encode(e.x0 + self.A.adjoint(r, e.phi, size)))
        return squared.clamp(min=1e-12).sqrt() if self.root else squared


@dataclass(frozen=True)
class Spectral:
    """-log p(y | z_t) where x - x0 has the power spectrum R_t: 1/2 r^H (|K|^2 R_t + sigma^2)^-1 r, r = y - k * x0.

    This is eq. 14 of LatentDEM (appendix A) with its model error nu_t per frequency, measured for the prior instead of
    tuned, and with the covariance transported through the operator (TMPD, Boys et al. 2023). The gradient reaches x0
    only through the residual, which is held fixed apart from that: <x0, -A^T C^-1 r>.

    Args:
        A: forward model.
        spectrum: R_t, the error spectrum of the prior.
        inflate: factor on sigma, for an imperfect kernel.
    """

    A: Convolution
    spectrum: Spectrum
    inflate: float = 1.0

    def __call__(self, e: Estimate) -> Tensor:
        """(B,), up to a constant."""
        size = (e.x0.shape[-2], e.x0.shape[-1])
        with torch.no_grad():
            K = otf(e.phi, size)
            r, c, _ = self._whitened(e, K)
            direction = ifft(K.conj() / c * fft(r), size)
        return -(e.x0 * direction).sum((-3, -2, -1))

    @torch.no_grad()
    def excess(self, e: Estimate) -> Tensor:
        """1/2 r^H C^-1 r less its mean for x0 = x, where r is noise alone, (B,)."""
        size = (e.x0.shape[-2], e.x0.shape[-1])
        r, c, base = self._whitened(e, otf(e.phi, size))
        half, seen = half_plane_weights(size[1], r.device, c.dtype), e.y.shape[-2] * e.y.shape[-1] / (size[0] * size[1])
        noise = e.y.shape[1] * seen * (half * base / c).sum((-3, -2, -1))
        return 0.5 * ((half * fft(r).abs().square() / c).sum((-3, -2, -1)) - noise)

    def _whitened(self, e: Estimate, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The residual on the canvas, C, and the noise power in it."""
        size = (e.x0.shape[-2], e.x0.shape[-1])
        base, more = split(self.inflate * e.sigma)
        c = K.abs().square() * self.spectrum(e.t, size, e.x0.device) + base
        return self.A.residual(e.y, e.x0.detach(), e.phi, c, more), c, base


@dataclass(frozen=True)
class Combined:
    """A weighted sum of losses: LatentDEM's eq. 16 is `Combined(((1, measurement), (gamma, glue)))`."""

    terms: tuple[tuple[float, Loss], ...]

    def __call__(self, e: Estimate) -> Tensor:
        """(B,)."""
        return torch.stack([weight * loss(e) for weight, loss in self.terms]).sum(0)
