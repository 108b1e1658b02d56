"""What the methods for a known kernel share: one reverse diffusion of the image, guided in a way of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blindinv.methods.method import About, Models, Options, no_skip
from blindinv.problem import Deblurring
from blindinv.protocols import Guidance, Prior, Step
from blindinv.solve import Diffused, Progress, solve
from blindinv.unknown import Known


def sample_known(problem: Deblurring, prior: Prior, steps: int, step: Step, guidance: Guidance, name: str) -> Iterator[Progress]:
    """The reverse diffusion of the image with the problem's kernel.

    Raises:
        ValueError: the kernel is not known.
    """
    if problem.kernel is None:
        raise ValueError(f"{name} is not blind: give it the kernel, or take fastem or blinddps")
    x = Diffused(prior, prior.schedule.timesteps(steps), step)
    return solve(problem.y, x, Known(problem.kernel), guidance, problem.sigma, canvas=problem.canvas, rng=problem.rng)


@dataclass(frozen=True)
class KnownKernel:
    """A method for a known kernel.

    Args:
        name: for messages.
        sample: (problem, prior, steps) -> steps.
        about: what it is.
        steps: of the reverse diffusion.
    """

    name: str
    sample: Callable[[Deblurring, Prior, int], Iterator[Progress]]
    about: About
    steps: int = 100
    known: bool = True
    needs: tuple[str, ...] = ("prior",)
    own_prior: str = "pixels"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `sample`."""
        no_skip(options, self.name)
        return self.sample(problem, models.prior, options.steps or self.steps)
