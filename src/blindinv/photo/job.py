"""A photo to be deblurred: read, completed and checked."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from blindinv.photo.errors import PhotoError, as_photo_error
from blindinv.photo.kernels import read_kernel
from blindinv.photo.light import to_linear
from blindinv.photo.noise import noise_level
from blindinv.photo.read import Photo, read_photo
from blindinv.photo.settings import Settings
from blindinv.problem import Deblurring

SMALLEST_TRUTH = 27


@dataclass(frozen=True, eq=False)
class Job:
    """A photo that can be deblurred.

    Attributes:
        path: of the photo.
        sha256: of its file.
        photo: as read.
        problem: in linear light if that was asked for; noise level and borders are settled.
        truth: (1, 3, H, W) in [0, 1], if it was given.
        true_kernel: (1, 1, m, m), if it was given.
    """

    path: Path
    sha256: str
    photo: Photo
    problem: Deblurring
    truth: Tensor | None
    true_kernel: Tensor | None


def prepare(path: Path, settings: Settings) -> Job:
    """Read a photo and what belongs to it, find what was not given, check that all fits together.

    Raises:
        PhotoError: something cannot be used.
    """
    photo = read_photo(path)
    kernel = None if settings.kernel is None else read_kernel(settings.kernel)
    size = settings.kernel_size if kernel is None else kernel.shape[-1]
    height, width = photo.pixels.shape[-2:]
    if min(height, width) <= size:
        raise PhotoError(
            f"{path}: an image of {width}x{height} is too small for a {size}x{size} kernel; use a smaller --kernel-size"
        )
    y = to_linear(photo.pixels) if settings.linear else photo.pixels
    level = noise_level(y, settings.sigma, settings.photons)
    with as_photo_error(ValueError, photo=path):
        problem = Deblurring.of(y, level, size, settings.circular, kernel, settings.seed, photons=settings.photons)
    truth = None if settings.truth is None else _read_truth(settings.truth, photo)
    true_kernel = None if settings.true_kernel is None else read_kernel(settings.true_kernel)
    return Job(path, hashlib.sha256(path.read_bytes()).hexdigest(), photo, problem, truth, true_kernel)


def _read_truth(path: Path, photo: Photo) -> Tensor:
    truth = read_photo(path).pixels
    if truth.shape != photo.pixels.shape:
        (h, w), (height, width) = truth.shape[-2:], photo.pixels.shape[-2:]
        raise PhotoError(f"{path}: the true photo is {w}x{h}, the blurred one {width}x{height}; they must have one size")
    if min(truth.shape[-2:]) < SMALLEST_TRUTH:
        raise PhotoError(f"{path}: figures need photos of {SMALLEST_TRUTH} pixels or more on each side")
    return truth
