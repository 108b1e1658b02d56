"""LatentDEM as the paper writes it (Bai et al., "Blind Inversion using Latent Diffusion Priors", algorithm 1)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from blindinv.guidance.losses import Combined, Glue, Measurement
from blindinv.guidance.moves import Descend
from blindinv.kernels.measure import delta
from blindinv.methods.method import About, Method, Models, Options
from blindinv.mstep.hqs import HQS, KernelPrior
from blindinv.problem import Deblurring
from blindinv.protocols import Prior, Step, Unknown
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import DDPM
from blindinv.unknown import Estimated, Known

Annealing = Callable[[int], float]


@dataclass(frozen=True)
class Anneal:
    """Technique 1: zeta_t falls from `high` at t = `start` to 1 at t = `end` and stays there (eq. 9); calls return 1 / zeta_t.

    Args:
        shape: progress in [0, 1] -> share of the way from 1 to `high`; `linear` is the paper's.
    """

    shape: Callable[[float], float]
    high: float = 10.0
    start: int = 1000
    end: int = 600

    def __call__(self, t: int) -> float:
        """1 / zeta_t."""
        u = min(1.0, max(0.0, (t - self.end) / (self.start - self.end)))
        return 1 / (1 + (self.high - 1) * self.shape(u))


def linear(u: float) -> float:
    """The paper's annealing."""
    return u


def cosine(u: float) -> float:
    """Flat at both ends."""
    return 0.5 - 0.5 * math.cos(math.pi * u)


def exponential(u: float, high: float = 10.0) -> float:
    """zeta_t falls by a constant factor per step, as the released code's step size grows."""
    return (high**u - 1) / (high - 1)


@dataclass(frozen=True)
class Skip:
    """Technique 2, skip-gradient: from t = T down to `above`, only one step in `every` is a full EM step.

    On T = 1000 steps the paper's settings skip 437 (K = 8, S_T = 500), 875 (8, 0) and 937 (16, 0) of them.

    Args:
        every: K of the paper (8); 1 skips nothing.
        above: S_T of the paper (500).
    """

    every: int = 8
    above: int = 500

    def __call__(self, i: int, t: int) -> bool:
        """Whether the i-th step (from 0), at timestep t, is a full step."""
        return t < self.above or i % self.every == 0


def latentdem_paper(
    problem: Deblurring,
    prior: Prior,
    denoiser: KernelPrior,
    steps: int = 1000,
    skip: Callable[[int, int], bool] = Skip(),
    anneal: Annealing = Anneal(linear),
    gamma: float = 0.1,
    omega: float = 1.0,
    step: Step = DDPM(),  # noqa: B008
) -> Iterator[Progress]:
    """E-step by eqs. 8, 9 and 16, M-step by eqs. 11, 17-19 from a delta kernel; with a known kernel this is PSLD.

    The losses are norms rather than squared norms over 2 sigma^2, as in the released code: this is the scale at
    which gamma = 0.1 and omega = 1 were published, for 1000 steps. Fewer steps are longer in proportion, and no step is longer
    than Polyak's to the norm of the noise (see `Descend`): without the one a short run hardly sees the measurement, and
    without the other a step near the end overshoots.

    Args:
        problem: what to deblur.
        prior: latent prior.
        denoiser: plug-and-play kernel denoiser.
        steps: of the reverse diffusion, evenly spaced on the prior's schedule.
        skip: full steps (Technique 2).
        anneal: 1 / zeta_t (Technique 1).
        gamma: weight of gluing.
        omega: weight of the measurement.
        step: reverse step; DDPM in algorithm 1.
    """
    A = problem.A
    fit = Measurement(A)
    loss = Combined(((omega, fit), (gamma, Glue(A, prior.encode))))
    move = Descend(loss, anneal, noise=lambda e: omega * fit.noise(e), rate=len(prior.schedule) / steps)
    start = delta(problem.kernel_size, len(problem.y)).to(problem.y)
    phi: Unknown = Estimated(start, HQS(A, denoiser, centre=True))
    if problem.kernel is not None:
        phi = Known(problem.kernel)
    x = Diffused(prior, prior.schedule.timesteps(steps), step)
    return solve(problem.y, x, phi, move, problem.sigma, canvas=problem.canvas, active=skip, rng=problem.rng)


PAPER = About(
    "LatentDEM as published: delta start, eqs. 8, 9, 11, 16, skip-gradient",
    "Bai et al., Blind Inversion using Latent Diffusion Priors, algorithm 1",
    "1000, 563 of them with gradients",
    "to compare with the paper, or with a large prior such as Stable Diffusion",
)


@dataclass(frozen=True)
class Paper:
    """LatentDEM as published, PSLD when the kernel is known."""

    steps: int = 1000
    skip: Skip = field(default_factory=Skip)
    anneal: Annealing = Anneal(linear)
    known: bool = False
    about: About = PAPER
    needs: tuple[str, ...] = ("prior", "denoiser")
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `latentdem_paper`."""
        if self.known and problem.kernel is None:
            raise ValueError("psld is not blind: give it the kernel")
        skip = self.skip if options.skip is None else Skip(*options.skip)
        return latentdem_paper(problem, models.prior, models.denoiser, options.steps or self.steps, skip, self.anneal)


PSLD = About(
    "PSLD: latent posterior sampling with gluing, kernel known",
    "Rout et al., Solving linear inverse problems provably via posterior sampling with latent diffusion models, 2023",
    "1000, all with gradients",
    "the kernel is known and the prior is a large latent one",
)
METHODS: dict[str, Method] = {"latentdem-paper": Paper(), "psld": Paper(skip=Skip(1, 0), known=True, about=PSLD)}
