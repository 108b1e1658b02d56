"""What a method is to `deblur` and to the commands: a value that makes steps of a problem, and says what it is for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from blindinv.problem import Deblurring
from blindinv.solve import Progress


@dataclass(frozen=True)
class About:
    """What `blindinv methods` says of a method.

    Attributes:
        summary: one line.
        paper: where it was published.
        cost: network evaluations, with or without gradients, at its own settings.
        when: when to choose it.
    """

    summary: str
    paper: str = ""
    cost: str = ""
    when: str = ""


@dataclass(frozen=True, eq=False)
class Models:
    """The networks that methods take; None where a method has no use for one.

    Attributes:
        prior: diffusion prior of images, latent or pixel.
        denoiser: plug-and-play denoiser of kernels.
        refiner: network that corrects what EM found of kernels.
        kernel_prior: diffusion prior of kernels.
        restorer: supervised network, (y, sigma) -> x.
        tilt_prior: diffusion prior of tilt maps.
    """

    prior: Any = None
    denoiser: Any = None
    refiner: Any = None
    kernel_prior: Any = None
    restorer: Any = None
    tilt_prior: Any = None


@dataclass(frozen=True)
class Options:
    """What a caller may change on any method; None is the method's own choice.

    Attributes:
        steps: of the reverse diffusion, or iterations.
        skip: (K, S_T) of skip-gradient (LatentDEM's Technique 2).
    """

    steps: int | None = None
    skip: tuple[int, int] | None = None


class Needy(Protocol):
    """What takes networks."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Attributes of `Models` that must not be None."""
        ...

    @property
    def own_prior(self) -> str:
        """The shipped image prior that it takes when none is named."""
        ...


class Method(Needy, Protocol):
    """A blind deblurring method."""

    @property
    def about(self) -> About:
        """What it is."""
        ...

    def __call__(self, problem: Deblurring, models: Models, options: Options, /) -> Iterator[Progress]:
        """The steps on a problem; raises ValueError for what the method cannot do."""
        ...


def no_skip(options: Options, name: str) -> None:
    """Refuse a skip that a method does not have.

    Raises:
        ValueError: one was asked for.
    """
    if options.skip is not None:
        raise ValueError(f"{name} has no steps to skip; skipping belongs to latentdem-paper")
