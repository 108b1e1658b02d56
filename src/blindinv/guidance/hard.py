"""Hard data consistency: the image nearest to the posterior mean that explains the observation to within its noise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.operators.convolution import Convolution
from blindinv.operators.fourier import Spectrum, fft, half_plane_weights, ifft, otf
from blindinv.operators.noise import split
from blindinv.protocols import Estimate, Guided, Prior
from blindinv.schedule import Schedule

LARGEST, SMALLEST = 1e2, 1e-8


@dataclass(frozen=True)
class HardConsistency:
    """x1 = x0 + rho G A^T (A rho G A^T + sigma^2)^-1 (y - A x0), rho the least at which |y - A x1|^2 is that of the noise.

    It is argmin |y - A x|^2 + lambda |x - x0|^2_(1/G) in closed form, stopped by the discrepancy principle where the
    paper stops its iterations: at the noise. Where x0 already explains y it stays.

    Reference: Song et al., "Solving inverse problems with latent diffusion models via hard data consistency", 2024, eq. 9.

    Args:
        A: forward model.
        shape: G at t, the shape of what is missing in x0; flat for pixels.
        iterations: of the bisection in log rho.
    """

    A: Convolution
    shape: Spectrum
    iterations: int = 30

    @torch.no_grad()
    def __call__(self, e: Estimate) -> Tensor:
        """(B, C, H', W')."""
        size = (e.x0.shape[-2], e.x0.shape[-1])
        K, (base, excess) = otf(e.phi, size), split(e.sigma)
        G = self.shape(0, size, e.x0.device)
        gain = K.abs().square() * G
        r = fft(self.A.residual(e.y, e.x0, e.phi, gain + base, excess))
        rho = self._least(r.abs().square() * half_plane_weights(size[1], r.device), gain, base, r.shape[1] * size[0] * size[1])
        return e.x0 + ifft(K.conj() * rho * G / (rho * gain + base) * r, size)

    def _least(self, power: Tensor, gain: Tensor, base: Tensor, count: int) -> Tensor:
        """rho, (B, 1, 1, 1), by bisection: the power left over falls as rho grows."""
        low, high = (torch.full_like(base, v).log() for v in (SMALLEST, LARGEST))
        for _ in range(self.iterations):
            middle = 0.5 * (low + high)
            left = (power * (base / (middle.exp() * gain + base)).square()).sum((-3, -2, -1), keepdim=True)
            enough = left <= count * base
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return high.exp()


@dataclass(frozen=True)
class Resampling:
    """ReSample's stochastic resampling, of which `Resample` does the other half: see there.

    Args:
        prior: takes the consistent image to z by a difference of encodings, and back.
        hard: the consistent image.
        after: t -> the timestep that the reverse step goes to.
        weight: (schedule, t, s) -> share of the state that the reverse step keeps.
    """

    prior: Prior
    hard: HardConsistency
    after: Mapping[int, int]
    weight: Callable[[Schedule, int, int], float]
    needs_grad: bool = False

    def __call__(self, e: Estimate) -> Guided:
        """A shift towards the consistent state; at the clean end the consistent image."""
        z1 = e.z0 + self.prior.encode(self.hard(e)) - self.prior.encode(e.x0)
        s = self.after[e.t]
        if s < 0:
            return Guided(z1, None, self.prior.decode(z1))
        schedule = self.prior.schedule
        return Guided(e.z0, -(1 - self.weight(schedule, e.t, s)) * schedule.at(s) ** 0.5 * z1, e.x0)
