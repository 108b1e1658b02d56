"""The command `blindinv bench poisson`."""

from typing import Annotated

import typer

from blindinv.benchmark import options as given
from blindinv.benchmark.options import Options, one_line_errors, run_bench


def poisson(
    images: given.Images,
    method: given.Method = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N photos, at three levels each.")] = None,
    out: given.Out = None,
    seed: given.Seed = 0,
    batch: given.Batch = 1,
    steps: given.Steps = None,
    prior: given.Prior = None,
    device: given.Device = "auto",
    pictures: given.Pictures = None,
    redo: given.Redo = False,
) -> None:
    """Gaussian and Poisson likelihood at three light levels: PSNR and MNC.

    A run that was stopped goes on where it was.
    """
    options = Options(method or (), limit, out, seed, batch, steps, prior or (), device, pictures, redo)
    with one_line_errors():
        from blindinv.benchmark.poisson import poisson_task

        run_bench("poisson", options, lambda limit: poisson_task(images, limit=limit, seed=seed))
