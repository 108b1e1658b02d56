"""The command `blindinv`. Everything heavy is imported when it is needed, so that `--help` is quick."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindinv.benchmark.cli import app as bench
from blindinv.photo.command import check_all_then_run, folders_of, line, one_line_errors
from blindinv.photo.turbulence_cli import turbulence
from blindinv.photo.views_cli import mesh, views
from blindinv.training.cli import app as train

if TYPE_CHECKING:
    from blindinv.photo.settings import Settings

app = typer.Typer(
    name="blindinv",
    help="Blind inverse problems with diffusion priors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("blindinv"))
        raise typer.Exit


@app.callback()
def blindinv(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Blind inverse problems with diffusion priors."""


@app.command()
def deblur(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", readable=False, help="JPEG, PNG, WebP, TIFF or BMP.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder; each photo gets a folder of its own in it.")],
    method: Annotated[str, typer.Option(help="How; `blindinv methods` lists them.")] = "latentdem",
    prior: Annotated[
        str | None, typer.Option(metavar="NAME|PATH|HUB", help="Diffusion model of images. Default: the method's own.")
    ] = None,
    kernel_prior: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Diffusion model of blur kernels.")] = None,
    restorer: Annotated[str | None, typer.Option(metavar="PATH", help="Network of the method restorer.")] = None,
    kernel_size: Annotated[int, typer.Option(metavar="N", help="Width of the blur kernel to find, 9 to 129.")] = 64,
    sigma: Annotated[str, typer.Option(metavar="auto|S", help="Noise level on [0, 1].")] = "auto",
    photons: Annotated[
        float | None, typer.Option(metavar="N", help="Poisson noise, N photons at white (best with --linear); sigma is added.")
    ] = None,
    boundary: Annotated[str, typer.Option(metavar="auto|free|circular", help="What lies outside the frame.")] = "auto",
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of the reverse diffusion.")] = None,
    skip: Annotated[str | None, typer.Option(metavar="K,S_T", help="Skip gradients: one full step in K until t = S_T.")] = None,
    samples: Annotated[int, typer.Option(metavar="N", help="Posterior samples; more than one also gives std.png.")] = 1,
    kernel: Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Known kernel, .npy or .png.")] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The sharp photo, for PSNR and SSIM.")
    ] = None,
    true_kernel: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The true kernel, for MSE and MNC.")
    ] = None,
    linear: Annotated[bool, typer.Option("--linear", help="Undo the sRGB curve first and work in linear light.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all random numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print each report as a line of JSON.")] = False,
) -> None:
    """Find the blur kernel of each PHOTO and the sharp picture behind it.

    Writes OUT/NAME/image.png, kernel.npy, kernel.png, comparison.png and report.json for PHOTO NAME.jpg.
    """
    with one_line_errors():
        from blindinv.photo.settings import Settings, parse_boundary, parse_device, parse_sigma, parse_skip

        settings = Settings(
            method=method,
            prior=prior,
            kernel_prior=kernel_prior,
            restorer=restorer,
            kernel_size=kernel_size,
            sigma=parse_sigma(sigma),
            photons=photons,
            circular=parse_boundary(boundary),
            steps=steps,
            skip=parse_skip(skip),
            samples=samples,
            kernel=kernel,
            truth=truth,
            true_kernel=true_kernel,
            linear=linear,
            seed=seed,
            device=parse_device(device),
        )
        _deblur_all(photos, out, settings, json)


def _deblur_all(photos: list[Path], out: Path, settings: "Settings", json: bool) -> None:
    from blindinv.methods.method import Models
    from blindinv.photo.job import Job, prepare
    from blindinv.photo.progress import progress_bar
    from blindinv.photo.run import deblur_photo, models_for

    def work(job: Job, models: Models, folder: Path) -> str:
        with progress_bar(job.path.name, job.problem) as record:
            return line(deblur_photo(job, settings, models, folder, record), folder, json)

    folders = folders_of(photos, out, {"--truth": settings.truth, "--true-kernel": settings.true_kernel})
    check_all_then_run(photos, folders, partial(prepare, settings=settings), partial(models_for, settings), work)


@app.command("methods")
def list_methods(
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each method.")] = False,
) -> None:
    """List the methods of `blindinv deblur`: what they are, what they need and cost, when to choose each."""
    from dataclasses import asdict
    from json import dumps

    from rich.console import Console

    from blindinv.methods import methods

    console = Console()
    for name, method in methods().items():
        own = method.own_prior if "prior" in method.needs else None
        about = asdict(method.about) | {"needs": list(method.needs), "prior": own}
        if json:
            typer.echo(dumps({"name": name} | about))
            continue
        console.print(f"[bold]{name}[/bold]  {about['summary']}", highlight=False)
        about["networks"] = ", ".join(n.replace("_", " ") for n in method.needs) or "none"
        for label, key in (("paper", "paper"), ("networks", "networks"), ("evaluations", "cost"), ("choose it for", "when")):
            console.print(f"    {label}: {about[key]}", highlight=False)


app.command("turbulence")(turbulence)
app.command("views")(views)
app.command("mesh")(mesh)
app.add_typer(bench, name="bench", help="Reproduce the tables.")
app.add_typer(train, name="train", help="Train the shipped networks on your own photos.")


def main() -> None:
    """Entry point of the console script."""
    app()
