"""FastEM: an M-step of the kernel inside one reverse diffusion (Laroche, Almansa & Coupete, "Fast diffusion EM", WACV 2024)."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from blindinv.guidance.losses import Measurement
from blindinv.guidance.moves import Descend
from blindinv.guidance.pseudo_inverse import PseudoInverse, error_spectrum
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.methods.starts import Coarse, Start, dirac, unknown
from blindinv.mstep.hqs import HQS, KernelPrior
from blindinv.problem import Deblurring
from blindinv.protocols import Guidance, Step
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import DDIM, DDPM

BETA = 1e5
COLOURS = 3


@dataclass(frozen=True)
class KernelStep:
    """The published M-step: ten iterations of half-quadratic splitting on the clipped image, then the centre of mass.

    The data step of the released code averages over colours where `HQS` sums, so that beta and lambda count three times.

    Args:
        hqs: as `m_step` makes it.
        below: timesteps from here up leave the kernel alone (published: none).
    """

    hqs: HQS
    below: int

    def __call__(self, y: Tensor, x: Tensor, k: Tensor, t: int, sigma: Tensor) -> Tensor:
        """See `MStep`."""
        return self.hqs(y, x.clamp(0, 1), k, t, sigma) if t < self.below else k


def m_step(problem: Deblurring, denoiser: KernelPrior, below: int = 1000) -> KernelStep:
    """beta = 1e5; lambda = 1 for kernels of about 33 pixels and 0.2 for those of 64."""
    lam = 1.0 if problem.kernel_size <= 48 else 0.2
    return KernelStep(HQS(problem.A, denoiser, COLOURS * BETA, COLOURS * lam, 10, centre=True), below)


ABOUT = About(
    "FastEM: DPS for the image, an M-step for the kernel after every network evaluation, from a delta",
    "Laroche et al., Fast Diffusion EM: a diffusion model for blind inverse problems, WACV 2024",
    "1000, all with gradients",
    "to compare with the paper",
)
WITH_PIGDM = About(
    "FastEM with PiGDM for the image",
    ABOUT.paper,
    "100, all with gradients",
    "to compare with the paper; ten times quicker than fastem and better in its tables",
)
STARTED = About(
    "FastEM with PiGDM from a classical estimate of the kernel, refined at t < 400",
    ABOUT.paper + ", with the start of docs/method.md",
    "100, all with gradients",
    "small priors, which do not find a kernel from a delta",
)


@dataclass(frozen=True)
class FastEM:
    """EM in one reverse diffusion; with a known kernel DPS or PiGDM.

    Args:
        steps: of the reverse diffusion.
        pseudo_inverse: PiGDM instead of DPS for the image.
        rate: step size of DPS, see `dps`.
        start: where the kernel starts.
        below: see `KernelStep`.
    """

    steps: int = 1000
    pseudo_inverse: bool = False
    rate: float = 0.3
    start: Start = dirac
    below: int = 1000
    about: About = ABOUT
    needs: tuple[str, ...] = ("prior", "denoiser")
    own_prior: str = "pixels"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """E-step by one guided reverse step, M-step on its posterior mean, alternated."""
        no_skip(options, "fastem")
        steps = options.steps or self.steps
        prior = models.prior
        move, step = self._e_step(problem, models, len(prior.schedule) / steps)
        phi = unknown(problem, models, self.start, m_step(problem, models.denoiser, self.below))
        x = Diffused(prior, prior.schedule.timesteps(steps), step)
        return solve(problem.y, x, phi, move, problem.sigma, canvas=problem.canvas, rng=problem.rng)

    def _e_step(self, problem: Deblurring, models: Models, pace: float) -> tuple[Guidance, Step]:
        if self.pseudo_inverse:
            return PseudoInverse(problem.A, error_spectrum(models.prior, problem)), DDIM(1.0)
        loss = Measurement(problem.A)
        return Descend(loss, noise=loss.noise, rate=self.rate * pace), DDPM()


METHODS: dict[str, Method] = {
    "fastem": FastEM(),
    "fastem-pigdm": FastEM(100, True, about=WITH_PIGDM),
    "fastem-started": FastEM(100, True, start=Coarse(), below=400, about=STARTED),
}
