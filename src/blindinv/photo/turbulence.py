"""Restoring one photo taken through turbulence, and writing what came of it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blindinv.kernels.tilt import end_point_error
from blindinv.methods.method import Models
from blindinv.operators.turbulence import warp
from blindinv.photo.errors import PhotoError, as_photo_error
from blindinv.photo.job import Job, prepare
from blindinv.photo.light import to_srgb
from blindinv.photo.report import figures, report
from blindinv.photo.results import write_results
from blindinv.photo.settings import Settings
from blindinv.photo.turbulence_pictures import tilt_picture
from blindinv.solve import Progress
from blindinv.turbulence import TurbulenceResult, find_turbulence_method, restore
from blindinv.zoo.models import load_models


@dataclass(frozen=True)
class TurbulenceSettings(Settings):
    """Settings of a run, the same for every photo.

    Attributes:
        method: name of the method.
        tilt_prior: name of a shipped diffusion prior of tilt maps, a path, or "gaussian"; None: the method's own.
        strength: of the turbulence.
        true_tilt: file of the true tilt, for figures.
    """

    method: str = "default"
    tilt_prior: str | None = None
    strength: float = 1.0
    true_tilt: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a photo."""
        super().__post_init__()
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 10):
            raise PhotoError(f"--strength {self.strength:g}: give 0 (no tilt) to 10; 1 is the published turbulence")


def models_for_turbulence(settings: TurbulenceSettings) -> Models:
    """The networks of the method, on their device.

    Raises:
        PhotoError: the method or a network is unknown, or an extra is missing.
    """
    with as_photo_error(ValueError, ImportError, OSError):
        return load_models(
            find_turbulence_method(settings.method),
            prior=settings.prior,
            kernel_prior=settings.kernel_prior,
            tilt_prior=settings.tilt_prior,
            strength=settings.strength,
            device=settings.device,
            dtype=settings.dtype,
        )


def prepare_turbulence(path: Path, settings: TurbulenceSettings) -> Job:
    """As `prepare`, and the true tilt, if there is one, fits.

    Raises:
        PhotoError: something cannot be used.
    """
    job = prepare(path, settings)
    if settings.true_tilt is not None:
        read_tilt(settings.true_tilt, job)
    return job


def read_tilt(path: Path, job: Job) -> Tensor:
    """A tilt field from a .npy array (2, H, W) in pixels, of the size of the photo, (1, 2, H, W).

    Raises:
        PhotoError: there is no such file or it is no such field.
    """
    height, width = job.problem.y.shape[-2:]
    right = f"a tilt is a .npy array of numbers, (2, {height}, {width}) for this photo"
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: there is no such file") from error
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise PhotoError(f"{path}: not a plain .npy array; {right}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.shape != (2, height, width):
        raise PhotoError(f"{path}: the array is {getattr(values, 'shape', '?')}; {right}")
    if not np.isfinite(values).all():
        raise PhotoError(f"{path}: has values that are NaN or infinite; {right}")
    return torch.from_numpy(values.astype(np.float32))[None]


def restore_photo(
    job: Job,
    settings: TurbulenceSettings,
    models: Models,
    folder: Path,
    record: Callable[[Progress], Any] | None = None,
) -> dict[str, Any]:
    """Restore and write image.png, kernel.npy/png, tilt.npy/png, comparison.png and report.json at once.

    Args:
        job: what `prepare` made.
        settings: of the run.
        models: what `models_for_turbulence` loaded.
        folder: appears complete or not at all; earlier results there are replaced.
        record: called after every step, with the kernel as phi and the tilted image as x, as for a blur.

    Returns:
        the report.

    Raises:
        PhotoError: the method cannot be used this way, or the folder cannot be written.
    """
    truth = None if settings.true_tilt is None else read_tilt(settings.true_tilt, job)
    started = time.monotonic()
    result = _restore(job, settings, models, record)
    seconds = time.monotonic() - started
    image, kernel, tilt = (t[:1].float().cpu() for t in (result.image, result.kernel, result.tilt))
    image = to_srgb(image) if settings.linear else image
    facts = report(job, settings, models, result.sigma, seconds)
    facts["tilt_rms_pixels"] = float(tilt.square().mean().sqrt())
    facts["figures"] = figures(job, image, kernel) | _tilt_figures(tilt, truth)
    others: dict[str, Callable[[Path], object]] = {
        "tilt.npy": lambda path: np.save(path, tilt[0].numpy()),
        "tilt.png": lambda path: tilt_picture(tilt).save(path),
    }
    write_results(folder, job, image, kernel, facts, others)
    return facts


def _tilt_figures(tilt: Tensor, truth: Tensor | None) -> dict[str, Any]:
    if truth is None:
        return {}
    found, none = end_point_error(tilt, truth), end_point_error(torch.zeros_like(truth), truth)
    return {"tilt": {"end_point_error": float(found), "end_point_error_of_no_tilt": float(none)}}


def _restore(
    job: Job, settings: TurbulenceSettings, models: Models, record: Callable[[Progress], Any] | None
) -> TurbulenceResult:
    problem = job.problem

    def shown(p: Progress) -> Any:
        assert record is not None
        x = None if p.x is None else warp(p.x, p.phi["tilt"])
        return record(replace(p, x=x, phi=p.phi["kernel"]))

    with as_photo_error(ValueError, photo=job.path):
        return restore(
            problem.y.to(settings.device),
            method=settings.method,
            prior=models.prior,
            kernel_prior=models.kernel_prior,
            tilt_prior=models.tilt_prior,
            kernel_size=problem.kernel_size,
            sigma=problem.sigma.to(settings.device),
            circular=problem.circular,
            kernel=None if problem.kernel is None else problem.kernel.to(settings.device),
            strength=settings.strength,
            steps=settings.steps,
            seed=settings.seed,
            record=None if record is None else shown,
        )
