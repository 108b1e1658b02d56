"""Blind deblurring in one call: what the command and the README use."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from blindinv.methods.latentdem import Settings, latentdem
from blindinv.methods.latentdem_paper import Skip, latentdem_paper
from blindinv.methods.vanilla_em import vanilla_em
from blindinv.mstep.hqs import KernelPrior
from blindinv.photo.tiles import Box, blend, tiles
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring, Result, run
from blindinv.solve import Progress
from blindinv.zoo.spectra import with_spectra

TILE = 512
LARGEST = 640 * 640


class Method(Protocol):
    """A method as `deblur` calls it: `steps` and `skip` are None for the method's own."""

    @property
    def about(self) -> str:
        """One line for the list of methods."""
        ...

    def __call__(
        self, problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, steps: int | None, skip: Skip | None, /
    ) -> Iterator[Progress]:
        """The steps of the method on a problem; raises ValueError for what the method cannot do."""
        ...


@dataclass(frozen=True)
class Default:
    """LatentDEM as it works best."""

    settings: Settings = field(default_factory=Settings)
    about: str = "LatentDEM, default: classical starts, EM weighted by the prior's error spectrum, 16 steps"

    def __call__(
        self, problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, steps: int | None, skip: Skip | None
    ) -> Iterator[Progress]:
        """See `methods.latentdem`."""
        if skip is not None:
            raise ValueError("the default method has no steps to skip; skipping belongs to latentdem-paper")
        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        return latentdem(problem, with_spectra(prior), denoiser, settings)


@dataclass(frozen=True)
class Paper:
    """LatentDEM as published, PSLD when the kernel is known."""

    steps: int = 1000
    skip: Skip = field(default_factory=Skip)
    known: bool = False
    about: str = "LatentDEM as published: delta start, eqs. 8, 9, 11, 16, skip-gradient"

    def __call__(
        self, problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, steps: int | None, skip: Skip | None
    ) -> Iterator[Progress]:
        """See `methods.latentdem_paper`."""
        if self.known and problem.kernel is None:
            raise ValueError("psld is not blind: give it the kernel")
        return latentdem_paper(problem, prior, denoiser, steps or self.steps, skip or self.skip)


@dataclass(frozen=True)
class Vanilla:
    """Full E-steps and full M-steps, alternated (the paper's table 3)."""

    steps: int = 1000
    about: str = "EM with whole reverse diffusions as E-steps (table 3); very slow"

    def __call__(
        self, problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, steps: int | None, skip: Skip | None
    ) -> Iterator[Progress]:
        """See `methods.vanilla_em`."""
        if skip is not None:
            raise ValueError("vanilla EM has no steps to skip")
        return vanilla_em(problem, prior, denoiser, steps=steps or self.steps)


METHODS: dict[str, Method] = {
    "latentdem": Default(),
    "latentdem-paper": Paper(),
    "psld": Paper(skip=Skip(1, 0), known=True, about="PSLD: the published sampler with a known kernel"),
    "vanilla-em": Vanilla(),
}

Record = Callable[[Progress], Any]


def deblur(
    y: Tensor,
    *,
    prior: LatentPrior,
    denoiser: KernelPrior,
    method: str | Method = "latentdem",
    kernel_size: int = 64,
    sigma: float | Tensor | None = None,
    circular: bool | None = None,
    kernel: Tensor | None = None,
    steps: int | None = None,
    skip: tuple[int, int] | None = None,
    samples: int = 1,
    seed: int = 0,
    record: Record | None = None,
) -> Result:
    """Recover images and blur kernels from blurred images.

    Images above 640 x 640 pixels are treated in tiles of 512 that share one kernel, estimated on the tile with the
    most detail: memory is bounded and time is linear in the number of pixels.

    Args:
        y: (B, 3, H, W) in [0, 1], B different images.
        prior: as `load_prior` gives.
        denoiser: as `load_kernel_denoiser` gives.
        method: a name in `METHODS`, or such an object.
        kernel_size: side of the kernel, 9 to 129 pixels; larger than the blur.
        sigma: noise level on [0, 1], one number or (B,); None: estimated.
        circular: periodic borders; None: detected.
        kernel: (1 or B, 1, n, n) if it is known: then only the image is sought.
        steps: of the reverse diffusion; None: the method's own.
        skip: (K, S_T) of skip-gradient, for methods that have it.
        samples: posterior samples per image; the result has B * samples images, image by image.
        seed: of all random numbers.
        record: called after every step, see `run`.

    Raises:
        ValueError: what cannot be deblurred, or an unknown method, with the reason.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"no method is called {method!r}; there are {', '.join(METHODS)}")
        method = METHODS[method]
    if sigma is None:
        from blindinv.photo.noise import estimate_sigma

        sigma = estimate_sigma(y)
    problem = Deblurring.of(y, sigma, kernel_size, circular, kernel, seed, samples)
    chosen = None if skip is None else Skip(*skip)
    if y.shape[-2] * y.shape[-1] <= LARGEST:
        return run(problem, method(problem, prior, denoiser, steps, chosen), record)
    return _in_tiles(problem, lambda part: method(part, prior, denoiser, steps, chosen), record)


def _detail(y: Tensor, box: Box) -> float:
    part = box.cut(y).mean(1)
    return float(part.diff(dim=-1).abs().mean() + part.diff(dim=-2).abs().mean())


def _in_tiles(problem: Deblurring, method: Callable[[Deblurring], Iterator[Progress]], record: Record | None) -> Result:
    """One kernel from the tile with the most detail, then every tile with that kernel, on free borders."""
    overlap = problem.kernel_size + 32
    boxes = tiles(problem.y.shape[-2], problem.y.shape[-1], max(TILE, 2 * overlap), overlap)
    history: list[Any] = []

    def part(box: Box, kernel: Tensor | None) -> Result:
        piece = Deblurring.of(box.cut(problem.y), problem.sigma, problem.kernel_size, False, kernel)
        piece = replace(piece, rng=problem.rng)
        result = run(piece, method(piece), record)
        history.extend(result.history)
        return result

    kernel = problem.kernel
    if kernel is None:
        kernel = part(max(boxes, key=lambda box: _detail(problem.y, box)), None).kernel
    image = blend(boxes, (part(box, kernel).image for box in boxes), overlap)
    return Result(image.clamp(0, 1), kernel, problem.sigma, history)


__all__ = ["METHODS", "Default", "Method", "Paper", "Vanilla", "deblur"]
