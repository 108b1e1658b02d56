"""The command `blindinv`. Everything heavy is imported when it is needed, so that `--help` is quick."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindinv.benchmark.cli import app as bench
from blindinv.photo import options as given
from blindinv.photo.command import check_all_then_run, folders_of, line, one_line_errors
from blindinv.photo.turbulence_cli import turbulence
from blindinv.photo.views_cli import mesh, views
from blindinv.threads import share_cores
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
    photos: given.Photos,
    out: given.Out,
    method: Annotated[str, typer.Option(help="How; `blindinv methods` lists them.")] = "latentdem",
    prior: given.Prior = None,
    kernel_prior: given.KernelPrior = None,
    restorer: Annotated[str | None, typer.Option(metavar="PATH", help="Network of the method restorer.")] = None,
    kernel_size: given.KernelSize = 64,
    sigma: given.Sigma = "auto",
    photons: given.Photons = None,
    boundary: given.Boundary = "auto",
    steps: given.Steps = None,
    skip: Annotated[str | None, typer.Option(metavar="K,S_T", help="Skip gradients: one full step in K until t = S_T.")] = None,
    samples: Annotated[int, typer.Option(metavar="N", help="Posterior samples; more than one also gives std.png.")] = 1,
    kernel: given.Kernel = None,
    truth: given.Truth = None,
    true_kernel: given.TrueKernel = None,
    linear: given.Linear = False,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    precision: given.Precision = "auto",
    threads: given.Threads = None,
    json: given.Json = False,
) -> None:
    """Find the blur kernel of each PHOTO and the sharp picture behind it.

    Writes OUT/NAME/image.png, kernel.npy, kernel.png, comparison.png and report.json for PHOTO NAME.jpg.
    """
    with one_line_errors():
        from blindinv.photo.settings import Settings, parse_boundary, parse_device, parse_sigma, parse_skip, use_threads

        use_threads(threads)
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
            precision=precision,
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
    share_cores()
    app()
