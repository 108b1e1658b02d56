"""The command `blindinv turbulence`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindinv.photo.command import check_all_then_run, folders_of, line, one_line_errors

if TYPE_CHECKING:
    from blindinv.photo.turbulence import TurbulenceSettings


def turbulence(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", readable=False, help="JPEG, PNG, WebP, TIFF or BMP.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder; each photo gets a folder of its own in it.")],
    method: Annotated[str, typer.Option(metavar="default|blinddps", help="How; blinddps is as published.")] = "default",
    strength: Annotated[float, typer.Option(metavar="X", help="Of the turbulence: tilts of about 0.4 X pixels; 0: none.")] = 1.0,
    prior: Annotated[
        str | None, typer.Option(metavar="NAME|PATH|HUB", help="Diffusion model of images. Default: the method's own.")
    ] = None,
    kernel_prior: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Diffusion model of blur kernels (blinddps).")
    ] = None,
    tilt_prior: Annotated[
        str | None, typer.Option(metavar="NAME|PATH|gaussian", help="Diffusion model of tilt maps (blinddps).")
    ] = None,
    kernel_size: Annotated[int, typer.Option(metavar="N", help="Width of the blur kernel to find, 9 to 129.")] = 64,
    sigma: Annotated[str, typer.Option(metavar="auto|S", help="Noise level on [0, 1].")] = "auto",
    photons: Annotated[
        float | None, typer.Option(metavar="N", help="Poisson noise, N photons at white (best with --linear); sigma is added.")
    ] = None,
    boundary: Annotated[str, typer.Option(metavar="auto|free|circular", help="What lies outside the frame.")] = "auto",
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of the reverse diffusion.")] = None,
    kernel: Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Known kernel, .npy or .png.")] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The sharp photo, for PSNR and SSIM.")
    ] = None,
    true_kernel: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The true kernel, for MSE and MNC.")
    ] = None,
    true_tilt: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The true tilt, .npy, for its end-point error.")
    ] = None,
    linear: Annotated[bool, typer.Option("--linear", help="Undo the sRGB curve first and work in linear light.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all random numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print each report as a line of JSON.")] = False,
) -> None:
    """Restore each PHOTO taken through turbulent air: a blur, and a small tilt of its own at every pixel.

    Writes OUT/NAME/image.png, kernel.npy, kernel.png, tilt.npy, tilt.png, comparison.png and report.json for PHOTO NAME.jpg.
    The tilt is (2, H, W) in pixels: to the right, then down; pixel p shows the scene at p + tilt(p), blurred.
    """
    with one_line_errors():
        from blindinv.photo.settings import parse_boundary, parse_device, parse_sigma
        from blindinv.photo.turbulence import TurbulenceSettings

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
