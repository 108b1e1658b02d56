"""Reverse steps. Each is a value with one call; none keeps state."""

from dataclasses import dataclass

from torch import Tensor

from blindinv.schedule import Schedule


@dataclass(frozen=True)
class DDIM:
    """DDIM between any two timesteps (Song, Meng & Ermon, "Denoising diffusion implicit models", 2021, eqs. 12 and 16).

    Args:
        eta: 0 is deterministic, 1 has DDPM's variance.
    """

    eta: float = 0.0

    def __call__(self, schedule: Schedule, z: Tensor, z0: Tensor, t: int, s: int, noise: Tensor) -> Tensor:
        """z_s from z_t and E[z_0 | z_t]."""
        a, b = schedule.at(t), schedule.at(s)
        std = self.eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        eps = (z - a**0.5 * z0) / (1 - a) ** 0.5
        return b**0.5 * z0 + max(0.0, 1 - b - std**2) ** 0.5 * eps + std * noise


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling; LatentDEM's algorithm 1.

    Reference: Ho, Jain & Abbeel, "Denoising diffusion probabilistic models", 2020, eqs. 6-7.
    """

    def __call__(self, schedule: Schedule, z: Tensor, z0: Tensor, t: int, s: int, noise: Tensor) -> Tensor:
        """z_s from z_t and E[z_0 | z_t]; no noise is added at the last step."""
        a, b = schedule.at(t), schedule.at(s)
        alpha = a / b
        mean = b**0.5 * (1 - alpha) / (1 - a) * z0 + alpha**0.5 * (1 - b) / (1 - a) * z
        return mean if s < 0 else mean + ((1 - b) / (1 - a) * (1 - alpha)) ** 0.5 * noise


@dataclass(frozen=True)
class Renoise:
    """z_s = sqrt(abar_s) z0 + sqrt(1 - abar_s) noise: forgets z_t, so it may also stay at one t or go up.

    Used to iterate EM at a fixed noise level and by DiffPIR-like samplers (Zhu et al., 2023, with zeta = 1).
    """

    def __call__(self, schedule: Schedule, z: Tensor, z0: Tensor, t: int, s: int, noise: Tensor) -> Tensor:
        """z_s from E[z_0 | z_t] alone."""
        b = schedule.at(s)
        return b**0.5 * z0 + (1 - b) ** 0.5 * noise
