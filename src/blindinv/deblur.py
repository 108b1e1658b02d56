"""Blind deblurring in one call: what the command and the README use."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from blindinv.methods import methods
from blindinv.methods.method import Method, Models, Options
from blindinv.operators.noise import level
from blindinv.photo.noise import noise_level
from blindinv.problem import Deblurring, Result, run
from blindinv.solve import Progress
from blindinv.tiled import whole_or_tiles

Record = Callable[[Progress], Any]


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in methods():
        raise ValueError(f"there is no method '{name}'; give one of {', '.join(methods())}")
    return methods()[name]


def deblur(
    y: Tensor,
    *,
    method: str | Method = "latentdem",
    prior: Any = None,
    denoiser: Any = None,
    refiner: Any = None,
    kernel_prior: Any = None,
    restorer: Any = None,
    kernel_size: int = 64,
    sigma: float | Tensor | None = None,
    photons: float | None = None,
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
    most detail: memory is bounded and time is linear in the number of pixels. Networks that are not given and that
    the method needs are the shipped ones.

    Args:
        y: (B, 3, H, W) in [0, 1], B different images.
        method: a name that `blindinv methods` lists, or such an object.
        prior: as `load_prior` gives.
        denoiser: as `load_kernel_denoiser` gives.
        refiner: as `load_kernel_refiner` gives.
        kernel_prior: as `load_kernel_prior` gives.
        restorer: as `load_restorer` gives.
        kernel_size: side of the kernel, 9 to 129 pixels; larger than the blur.
        sigma: level of Gaussian noise on [0, 1]: one number, (B,), or (B, 3, H, W) where it differs from pixel to pixel;
            None: estimated, or none at all beside the photons' noise.
        photons: Poisson noise, with so many photons at white; y is not negative then. None: no such noise.
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
    from blindinv.zoo.models import completed

    method = find_method(method) if isinstance(method, str) else method
    problem = Deblurring.of(y, noise_level(y, sigma, photons), kernel_size, circular, kernel, seed, samples, photons)
    models, options = completed(method, Models(prior, denoiser, refiner, kernel_prior, restorer), y.device), Options(steps, skip)
    history: list[Any] = []

    def find(part: Deblurring) -> tuple[Tensor, Tensor]:
        found = run(part, method(part, models, options), record)
        history.extend(found.history)
        return found.image, found.kernel

    image, found_kernel = whole_or_tiles(problem, find)
    return Result(image.clamp(0, 1), found_kernel, level(problem.sigma), history)


__all__ = ["Method", "deblur", "find_method"]
