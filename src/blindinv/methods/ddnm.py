"""DDNM: the range space from the observation, the null space from the diffusion model (Wang et al., 2023)."""

from collections.abc import Iterator

from blindinv.guidance.moves import Proximal
from blindinv.guidance.pseudo_inverse import error_spectrum
from blindinv.methods.known import KnownKernel, sample_known
from blindinv.methods.method import About, Method
from blindinv.problem import Deblurring
from blindinv.protocols import Prior, Step
from blindinv.solve import Progress
from blindinv.step import DDIM


def ddnm(problem: Deblurring, prior: Prior, steps: int = 100, step: Step = DDIM(0.85)) -> Iterator[Progress]:  # noqa: B008
    """x0 <- x0 + A^+ (y - A x0) before each DDIM step with eta = 0.85: what A cannot see stays the model's.

    A^+ = R_t A^T (A R_t A^T + sigma^2)^-1 is the pseudo-inverse with each frequency damped by the noise, as far as the model is
    wrong there: R_t is its measured error spectrum, or 1 - abar_t for a prior without one. DDNM+ (the paper's eq. 17) damps
    by a threshold on the singular value instead, and takes the noise that the correction brings out of the step's own;
    here blur and noise are diagonal in one basis, and the Wiener gain does both. deepinv has no DDNM.

    Args:
        problem: with its kernel.
        prior: of images, in pixels as published or in latents (the correction goes there as a difference of encodings).
        steps: of the reverse diffusion.
        step: reverse step.

    Raises:
        ValueError: the kernel is not known.
    """
    move = Proximal(problem.A, error_spectrum(prior, problem), prior.encode)
    return sample_known(problem, prior, steps, step, move, "ddnm")


ABOUT = About(
    "DDNM: range space from the observation, null space from the model, kernel known",
    "Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023",
    "100, without gradients",
    "the kernel is known, noise is low, and it has to be quick",
)

METHODS: dict[str, Method] = {"ddnm": KnownKernel("ddnm", ddnm, ABOUT)}
