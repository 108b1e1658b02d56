"""Where a blind method's kernel starts: a delta, as published, or a classical estimate."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from blindinv.kernels.measure import centre_exactly, delta
from blindinv.methods.latentdem import Settings, best_start
from blindinv.methods.method import Models
from blindinv.mstep.coarse_to_fine import CoarseToFine, coarse_to_fine
from blindinv.problem import Deblurring
from blindinv.protocols import MStep, Unknown
from blindinv.unknown import Estimated, Known

Start = Callable[[Deblurring, Models], Tensor]


def dirac(problem: Deblurring, models: Models) -> Tensor:
    """A delta, (B, 1, n, n): as published."""
    return delta(problem.kernel_size, len(problem.y)).to(problem.y)


@dataclass(frozen=True)
class Coarse:
    """One classical estimate from coarse to fine, centred; it needs no diffusion model.

    Args:
        settings: of the estimate.
    """

    settings: CoarseToFine = field(default_factory=lambda: CoarseToFine(prune=0.1))

    def __call__(self, problem: Deblurring, models: Models) -> Tensor:
        """(B, 1, n, n)."""
        *_, k = coarse_to_fine(problem.y, problem.kernel_size, problem.circular, self.settings, models.denoiser)
        return centre_exactly(k)


@dataclass(frozen=True)
class Judged:
    """The best of several classical estimates by the evidence under the prior: LatentDEM's start.

    Args:
        settings: of `latentdem`, whose `starts`, `judge_t` and `floor` count here.
    """

    settings: Settings = field(default_factory=Settings)

    def __call__(self, problem: Deblurring, models: Models) -> Tensor:
        """(B, 1, n, n)."""
        from blindinv.zoo.spectra import with_spectra

        return best_start(problem, with_spectra(models.prior), models.denoiser, self.settings)


def unknown(problem: Deblurring, models: Models, start: Start, m_step: MStep) -> Unknown:
    """The kernel if it is known, else EM from a start."""
    return Known(problem.kernel) if problem.kernel is not None else Estimated(start(problem, models), m_step)
