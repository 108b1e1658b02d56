"""DPS: diffusion posterior sampling with a known kernel (Chung et al., 2023, algorithm 1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from blindinv.guidance.losses import Measurement
from blindinv.guidance.moves import Descend
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.problem import Deblurring
from blindinv.protocols import Prior, Step
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import DDPM
from blindinv.unknown import Known


def dps(problem: Deblurring, prior: Prior, steps: int = 1000, rate: float = 0.3, step: Step = DDPM()) -> Iterator[Progress]:  # noqa: B008
    """After each ancestral step: z_s <- z_s - rate grad |y - k * x0|, the norm (Poisson: weighted norm) on the [-1, 1] scale.

    Algorithm 1 divides the gradient of the squared norm by the norm; that is twice the gradient of the norm, and the 0.3 of
    the released code for motion blur is of the gradient of the norm. Fewer steps are longer in proportion.

    Args:
        problem: with its kernel.
        prior: of images, in pixels as published or in latents.
        steps: of the reverse diffusion.
        rate: step size at as many steps as the prior's schedule has.
        step: reverse step.

    Raises:
        ValueError: the kernel is not known.
    """
    if problem.kernel is None:
        raise ValueError("dps is not blind: give it the kernel, or take fastem or blinddps")
    scale = rate * len(prior.schedule) / steps
    loss = Measurement(problem.A)
    move = Descend(loss, lambda t: scale, noise=loss.noise)
    x = Diffused(prior, prior.schedule.timesteps(steps), step)
    return solve(problem.y, x, Known(problem.kernel), move, problem.sigma, canvas=problem.canvas, rng=problem.rng)


ABOUT = About(
    "DPS: gradient steps on the residual of the posterior mean, kernel known",
    "Chung et al., Diffusion posterior sampling for general noisy inverse problems, ICLR 2023",
    "1000, all with gradients",
    "the kernel is known; the reference that most papers compare with",
)


@dataclass(frozen=True)
class DPS:
    """Diffusion posterior sampling with a known kernel."""

    steps: int = 1000
    rate: float = 0.3
    known: bool = True
    about: About = ABOUT
    needs: tuple[str, ...] = ("prior",)
    own_prior: str = "pixels"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `dps`."""
        no_skip(options, "dps")
        return dps(problem, models.prior, options.steps or self.steps, self.rate)


METHODS: dict[str, Method] = {"dps": DPS()}
