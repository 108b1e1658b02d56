"""The command `blindinv turbulence`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindinv.photo import options as given
from blindinv.photo.command import check_all_then_run, folders_of, line, one_line_errors

if TYPE_CHECKING:
    from blindinv.photo.turbulence import TurbulenceSettings


def turbulence(
    photos: given.Photos,
    out: given.Out,
    method: Annotated[str, typer.Option(metavar="default|blinddps", help="How; blinddps is as published.")] = "default",
    strength: Annotated[float, typer.Option(metavar="X", help="Of the turbulence: tilts of about 0.4 X pixels; 0: none.")] = 1.0,
    prior: given.Prior = None,
    kernel_prior: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Diffusion model of blur kernels (blinddps).")
    ] = None,
    tilt_prior: Annotated[
        str | None, typer.Option(metavar="NAME|PATH|gaussian", help="Diffusion model of tilt maps (blinddps).")
    ] = None,
    kernel_size: given.KernelSize = 64,
    sigma: given.Sigma = "auto",
    photons: given.Photons = None,
    boundary: given.Boundary = "auto",
    steps: given.Steps = None,
    kernel: given.Kernel = None,
    truth: given.Truth = None,
    true_kernel: given.TrueKernel = None,
    true_tilt: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The true tilt, .npy, for its end-point error.")
    ] = None,
    linear: given.Linear = False,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    precision: given.Precision = "auto",
    threads: given.Threads = None,
    json: given.Json = False,
) -> None:
    """Restore each PHOTO taken through turbulent air: a blur, and a small tilt of its own at every pixel.

    Writes OUT/NAME/image.png, kernel.npy, kernel.png, tilt.npy, tilt.png, comparison.png and report.json for PHOTO NAME.jpg.
    The tilt is (2, H, W) in pixels: to the right, then down; pixel p shows the scene at p + tilt(p), blurred.
    """
    with one_line_errors():
        from blindinv.photo.settings import parse_boundary, parse_device, parse_sigma, use_threads
        from blindinv.photo.turbulence import TurbulenceSettings

        use_threads(threads)
        settings = TurbulenceSettings(
            method=method,
            strength=strength,
            prior=prior,
            kernel_prior=kernel_prior,
            tilt_prior=tilt_prior,
            kernel_size=kernel_size,
            sigma=parse_sigma(sigma),
            photons=photons,
            circular=parse_boundary(boundary),
            steps=steps,
            kernel=kernel,
            truth=truth,
            true_kernel=true_kernel,
            true_tilt=true_tilt,
            linear=linear,
            seed=seed,
            device=parse_device(device),
            precision=precision,
        )
        _restore_all(photos, out, settings, json)


def _restore_all(photos: list[Path], out: Path, settings: "TurbulenceSettings", json: bool) -> None:
    from blindinv.methods.method import Models
    from blindinv.photo.job import Job
    from blindinv.photo.progress import progress_bar
    from blindinv.photo.turbulence import models_for_turbulence, prepare_turbulence, restore_photo

    def work(job: Job, models: Models, folder: Path) -> str:
        with progress_bar(job.path.name, job.problem) as record:
            return line(restore_photo(job, settings, models, folder, record), folder, json)

    truths = {"--truth": settings.truth, "--true-kernel": settings.true_kernel, "--true-tilt": settings.true_tilt}
    prepare, load = partial(prepare_turbulence, settings=settings), partial(models_for_turbulence, settings)
    check_all_then_run(photos, folders_of(photos, out, truths), prepare, load, work)
