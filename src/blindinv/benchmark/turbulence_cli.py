"""The command `blindinv bench turbulence`."""

from typing import Annotated

import typer

from blindinv.benchmark import options as given
from blindinv.benchmark.options import Options, one_line_errors, run_bench


def turbulence(
    images: given.Images,
    method: given.Method = None,
    limit: given.Limit = None,
    out: given.Out = None,
    seed: given.Seed = 0,
    batch: given.Batch = 1,
    std: Annotated[float, typer.Option(metavar="S", help="Of the Gaussian blur, in pixels.")] = 2.0,
    sigma: given.Sigma = 0.02,
    steps: given.Steps = None,
    prior: given.Prior = None,
    device: given.Device = "auto",
    pictures: given.Pictures = None,
    redo: given.Redo = False,
) -> None:
    """Photos through the simulator of turbulence (BlindDPS): PSNR, SSIM, end-point error of the tilt, kernel MNC.

    A run that was stopped goes on where it was.
    """
    options = Options(method or (), limit, out, seed, batch, steps, prior or (), device, pictures, redo)
    with one_line_errors():
        from blindinv.benchmark.turbulence import turbulence_task

        run_bench("turbulence", options, lambda limit: turbulence_task(images, limit=limit, seed=seed, sigma=sigma, std=std))
