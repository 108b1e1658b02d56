"""The command `blindinv bench poisson`."""

from pathlib import Path
from typing import Annotated

import typer

from blindinv.benchmark.options import Options, one_line_errors, run_bench


def poisson(
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of photos; the first 64 by name.", show_default=False)],
    method: Annotated[list[str] | None, typer.Option("--method", metavar="NAME", help="A row; give it several times.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N photos, at three levels each.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Records (JSONL); the table is written beside it.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of all random numbers.")] = 0,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures side by side.")] = 1,
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Steps of the reverse diffusion.")] = None,
    prior: Annotated[
        list[str] | None, typer.Option("--prior", metavar="NAME|PATH|HUB", help="Diffusion model of images.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
    pictures: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep a few results and make a contact sheet.")] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Run also what is stored.")] = False,
) -> None:
    """Gaussian and Poisson likelihood at three light levels: PSNR and MNC.

    A run that was stopped goes on where it was.
    """
    options = Options(method or (), limit, out, seed, batch, steps, prior or (), device, pictures, redo)
    with one_line_errors():
        from blindinv.benchmark.poisson import poisson_task

        run_bench("poisson", options, lambda limit: poisson_task(images, limit=limit, seed=seed))
