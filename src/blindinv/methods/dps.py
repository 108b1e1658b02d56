"""DPS: diffusion posterior sampling with a known kernel (Chung et al., 2023, algorithm 1)."""

from collections.abc import Iterator
from functools import partial

from blindinv.guidance.losses import Measurement
from blindinv.guidance.moves import Descend
from blindinv.methods.known import KnownKernel, sample_known
from blindinv.methods.method import About, Method
from blindinv.problem import Deblurring
from blindinv.protocols import Prior, Step
from blindinv.solve import Progress
from blindinv.step import DDPM


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
    loss = Measurement(problem.A)
    move = Descend(loss, noise=loss.noise, rate=rate * len(prior.schedule) / steps)
    return sample_known(problem, prior, steps, step, move, "dps")


ABOUT = About(
    "DPS: gradient steps on the residual of the posterior mean, kernel known",
    "Chung et al., Diffusion posterior sampling for general noisy inverse problems, ICLR 2023",
    "1000, all with gradients",
    "the kernel is known; the reference that most papers compare with",
)

METHODS: dict[str, Method] = {"dps": KnownKernel("dps", partial(dps, rate=0.3), ABOUT, 1000)}
