"""How the unknown of the forward model is treated: known, or estimated by EM."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from blindinv.protocols import Estimate, MStep


@dataclass(frozen=True)
class Known:
    """phi is given and stays."""

    initial: Tensor

    def update(self, e: Estimate) -> Tensor:
        """The same phi."""
        return e.phi


@dataclass(frozen=True)
class Estimated:
    """phi is re-estimated from the posterior mean at every full step (EM).

    Args:
        initial: where EM starts.
        m_step: argmax over phi.
        active: at which timesteps the M-step runs.
    """

    initial: Tensor
    m_step: MStep
    active: Callable[[int], bool] = lambda t: True

    def update(self, e: Estimate) -> Tensor:
        """phi after an M-step on the posterior mean (before guidance touches it)."""
        if not self.active(e.t):
            return e.phi
        return self.m_step(e.y, e.x0.detach(), e.phi, e.t, e.sigma)
