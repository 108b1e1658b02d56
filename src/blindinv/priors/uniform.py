"""The prior that says nothing: every pixel of the kernel uniform on its range (the ablation of BlindDPS)."""

import math

import torch
from torch import Tensor

from blindinv.priors.kernel_diffusion import KernelStates
from blindinv.schedule import Schedule


def truncated_normal_mean(mean: Tensor, std: float) -> Tensor:
    """E[x] of a normal variable that is known to lie in [-1, 1], at any mean, float64 inside.

    With a = (-1 - mean) / std, b = (1 - mean) / std, d = (b^2 - a^2) / 2 and mean <= 0 (else mirrored):
    mean + std (phi(a) - phi(b)) / (Phi(b) - Phi(a)), where in the tail (a > 0) phi(a) is divided out:
    sqrt(2 / pi) (1 - exp(-d)) / (erfcx(a / sqrt 2) - exp(-d) erfcx(b / sqrt 2)).

    Args:
        mean: of the normal variable before it is known to lie there.
        std: of the same, positive.
    """
    m = -mean.double().abs()
    a, b, d = (-1 - m) / std, (1 - m) / std, -2 * m / std**2
    inner, outer = a.clamp(max=0), a.clamp(min=0)
    root, pull = math.sqrt(0.5), -torch.expm1(-d)
    middle = torch.exp(-inner.square() / 2) * pull / (torch.erf(b * root) - torch.erf(inner * root))
    tail = pull / (torch.special.erfcx(outer * root) - torch.exp(-d) * torch.special.erfcx(b * root))
    out = m + std * math.sqrt(2 / math.pi) * torch.where(a <= 0, middle, tail)
    return torch.where(mean > 0, -out, out).clamp(-1, 1).to(mean.dtype)


class UniformPrior(KernelStates):
    """Independent pixels, uniform on [-1, 1]; the posterior mean is exact.

    z_t / sqrt(abar) = z_0 + noise of standard deviation sqrt((1 - abar) / abar), so z_0 given z_t is a truncated normal.

    Args:
        size: of the kernels.
        schedule: of the diffusion.
    """

    def __init__(self, size: int = 64, schedule: Schedule | None = None) -> None:
        super().__init__(size, schedule or Schedule.linear())

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t]."""
        abar = self.schedule.at(t)
        return truncated_normal_mean(z_t / abar**0.5, ((1 - abar) / abar) ** 0.5)
