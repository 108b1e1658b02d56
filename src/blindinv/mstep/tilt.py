"""The tilt M-step: the most likely displacement field, given image and kernel, under its exact Gaussian prior."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.kernels.tilt import tilt_power
from blindinv.operators.fourier import Spectrum, fft, ifft, otf, size_of
from blindinv.operators.noise import split
from blindinv.operators.turbulence import Turbulence, warp

TINY = 1e-30


def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along the columns and along the rows, in values per pixel."""
    return (x.roll(-1, -1) - x.roll(1, -1)) / 2, (x.roll(-1, -2) - x.roll(1, -2)) / 2


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-3, -2, -1), keepdim=True)


@dataclass(frozen=True)
class TiltStep:
    """tau <- argmax log p(y | x, k, tau) + log p(tau), one Gauss-Newton step.

    With the slopes g of x where the old tau looks, k * T_tau'(x) is about k * T_tau(x) + k * (g . (tau' - tau)), and

        tau' = argmin 1/2 |r + J tau - J tau'|^2_C + 1/2 tau'^T S^-1 tau',    J d = k * (g . d),  r = y - k * T_tau(x),

    with the spectrum S of the simulator's maps and C = |K|^2 R_t + sigma^2, the noise and what is wrong with x at t, which
    is what `HQS` does for the kernel. Solved in tau' = S^(1/2) u by conjugate gradients, which needs few iterations:
    blur and prior leave only coarse fields to be found.

    Args:
        A: the forward model.
        kernel: (B, 1, n, n).
        spectrum: R_t, the error spectrum of the image prior.
        strength: of the turbulence, see `tilt_maps`.
        temper: factor on C. Images are wrong at their edges above all, where tilts are seen, and R_t is a mean.
        iterations: of conjugate gradients.
        momentum: the new field is momentum * old + (1 - momentum) * estimate, which averages over the noise in x.
    """

    A: Turbulence
    kernel: Tensor
    spectrum: Spectrum
    strength: float = 1.0
    temper: float = 1.0
    iterations: int = 10
    momentum: float = 0.0

    @torch.no_grad()
    def __call__(self, y: Tensor, x: Tensor, tilt: Tensor, t: int, sigma: Tensor) -> Tensor:
        """One M-step, see `MStep`; x and tilt are on the canvas."""
        size = size_of(x)
        K, root = otf(self.kernel, size), tilt_power(size, self.strength, x.device).sqrt()
        base, excess = split(self.temper**0.5 * sigma)
        c = self.temper * K.abs().square() * self.spectrum(t, size, x.device) + base
        right, down = (warp(g, tilt) for g in slopes(x))

        def blurred(u: Tensor) -> Tensor:
            d = ifft(root * fft(u), size)
            return ifft(K * fft(right * d[:, :1] + down * d[:, 1:]), size)

        def back(r: Tensor) -> Tensor:
            q = ifft(K.conj() / c * fft(r), size)
            both = torch.cat([(g * q).sum(1, keepdim=True) for g in (right, down)], 1)
            return ifft(root * fft(both), size)

        r = self.A.residual(y, x, {"kernel": self.kernel, "tilt": tilt}, c, excess)
        seen = r + ifft(K * fft(right * tilt[:, :1] + down * tilt[:, 1:]), size)
        residual = back(seen)
        u, p, rr = torch.zeros_like(residual), residual, _dot(residual, residual)
        for _ in range(self.iterations):
            q = p + back(blurred(p))
            step = rr / _dot(p, q).clamp(min=TINY)
            u, residual = u + step * p, residual - step * q
            new = _dot(residual, residual)
            p, rr = residual + new / rr.clamp(min=TINY) * p, new
        return self.momentum * tilt + (1 - self.momentum) * ifft(root * fft(u), size)
