"""Deblurring one photo and writing what came of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blindinv.deblur import METHODS, deblur
from blindinv.photo.errors import PhotoError, first_line
from blindinv.photo.folder import replacing
from blindinv.photo.job import Job
from blindinv.photo.light import to_srgb
from blindinv.photo.pictures import comparison, kernel_picture, picture, spread
from blindinv.photo.report import Models, figures, report, write_report
from blindinv.photo.settings import Settings
from blindinv.photo.write import write_photo
from blindinv.problem import Result
from blindinv.solve import Progress
from blindinv.zoo import load_kernel_denoiser, load_prior


def load_models(settings: Settings) -> Models:
    """The prior and the kernel denoiser, on their device.

    Raises:
        PhotoError: the method or prior is unknown, or an extra is missing.
    """
    if settings.method not in METHODS:
        raise PhotoError(f"--method {settings.method}: there is no such method; give one of {', '.join(METHODS)}")
    try:
        return Models(load_prior(settings.prior, device=settings.device), load_kernel_denoiser().to(settings.device))
    except (ValueError, ImportError, OSError) as error:
        raise PhotoError(first_line(error)) from error


def deblur_photo(
    job: Job, settings: Settings, models: Models, folder: Path, record: Callable[[Progress], Any] | None = None
) -> dict[str, Any]:
    """Deblur and write image.png, kernel.npy, kernel.png, comparison.png, report.json (and std.png) at once.

    Args:
        job: what `prepare` made.
        settings: of the run.
        models: what `load_models` loaded.
        folder: appears complete or not at all; earlier results there are replaced.
        record: called after every step.

    Returns:
        the report.

    Raises:
        PhotoError: the method cannot be used this way, or the folder cannot be written.
    """
    started = time.monotonic()
    result = _deblur(job, settings, models, record)
    seconds = time.monotonic() - started
    image, kernel = result.image.float().cpu(), result.kernel[:1].float().cpu()
    image = to_srgb(image) if settings.linear else image
    facts = report(job, settings, models, result, seconds)
    facts["figures"] = figures(job, image[:1], kernel)
    try:
        with replacing(folder) as new:
            write_photo(new / "image.png", image[:1], job.photo)
            np.save(new / "kernel.npy", kernel[0, 0].numpy())
            kernel_picture(kernel).save(new / "kernel.png")
            comparison(job.photo.pixels, image[:1], kernel).save(new / "comparison.png")
            if len(image) > 1:
                deviation, facts["std_white"] = spread(image)
                picture(deviation).save(new / "std.png")
            write_report(new / "report.json", facts)
    except OSError as error:
        raise PhotoError(f"{folder}: cannot be written ({error.strerror or error}); choose another -o") from error
    return facts


def _deblur(job: Job, settings: Settings, models: Models, record: Callable[[Progress], Any] | None) -> Result:
    problem = job.problem
    try:
        return deblur(
            problem.y.to(settings.device),
            method=settings.method,
            prior=models.prior,
            denoiser=models.denoiser,
            kernel_size=problem.kernel_size,
            sigma=problem.sigma.to(settings.device),
            circular=problem.circular,
            kernel=None if problem.kernel is None else problem.kernel.to(settings.device),
            steps=settings.steps,
            skip=settings.skip,
            samples=settings.samples,
            seed=settings.seed,
            record=record,
        )
    except ValueError as error:
        raise PhotoError(f"{job.path}: {first_line(error)}") from error
