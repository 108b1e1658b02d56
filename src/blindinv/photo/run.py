"""Deblurring one photo and writing what came of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blindinv.deblur import deblur, find_method
from blindinv.methods.method import Models
from blindinv.photo.errors import as_photo_error
from blindinv.photo.job import Job
from blindinv.photo.light import to_srgb
from blindinv.photo.pictures import picture, spread
from blindinv.photo.report import figures, report
from blindinv.photo.results import write_results
from blindinv.photo.settings import Settings
from blindinv.problem import Result
from blindinv.solve import Progress
from blindinv.zoo.models import load_models


def models_for(settings: Settings) -> Models:
    """The networks of the method, on their device.

    Raises:
        PhotoError: the method or a network is unknown, or an extra is missing.
    """
    with as_photo_error(ValueError, ImportError, OSError):
        return load_models(
            find_method(settings.method),
            prior=settings.prior,
            kernel_prior=settings.kernel_prior,
            restorer=settings.restorer,
            device=settings.device,
            dtype=settings.dtype,
        )


def deblur_photo(
    job: Job, settings: Settings, models: Models, folder: Path, record: Callable[[Progress], Any] | None = None
) -> dict[str, Any]:
    """Deblur and write image.png, kernel.npy, kernel.png, comparison.png, report.json (and std.png) at once.

    Args:
        job: what `prepare` made.
        settings: of the run.
        models: what `models_for` loaded.
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
    facts = report(job, settings, models, result.sigma, seconds)
    facts["figures"] = figures(job, image[:1], kernel)
    others: dict[str, Callable[[Path], object]] = {}
    if len(image) > 1:
        deviation, facts["std_white"] = spread(image)
        others["std.png"] = picture(deviation).save
    write_results(folder, job, image[:1], kernel, facts, others)
    return facts


def _deblur(job: Job, settings: Settings, models: Models, record: Callable[[Progress], Any] | None) -> Result:
    problem = job.problem
    with as_photo_error(ValueError, photo=job.path):
        return deblur(
            problem.y.to(settings.device),
            method=settings.method,
            prior=models.prior,
            denoiser=models.denoiser,
            refiner=models.refiner,
            kernel_prior=models.kernel_prior,
            restorer=models.restorer,
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
