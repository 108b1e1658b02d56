"""The options that the commands on photos share."""

from pathlib import Path
from typing import Annotated

import typer

Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTO...", readable=False, help="JPEG, PNG, WebP, TIFF or BMP.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder; each photo gets a folder of its own in it.")]
Prior = Annotated[str | None, typer.Option(metavar="NAME|PATH|HUB", help="Diffusion model of images. Default: the method's own.")]
KernelPrior = Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Diffusion model of blur kernels.")]
KernelSize = Annotated[int, typer.Option(metavar="N", help="Width of the blur kernel to find, 9 to 129.")]
Sigma = Annotated[str, typer.Option(metavar="auto|S", help="Noise level on [0, 1].")]
Photons = Annotated[
    float | None, typer.Option(metavar="N", help="Poisson noise, N photons at white (best with --linear); sigma is added.")
]
Boundary = Annotated[str, typer.Option(metavar="auto|free|circular", help="What lies outside the frame.")]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Steps of the reverse diffusion.")]
Kernel = Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="Known kernel, .npy or .png.")]
Truth = Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="The sharp photo, for PSNR and SSIM.")]
TrueKernel = Annotated[Path | None, typer.Option(metavar="FILE", readable=False, help="The true kernel, for MSE and MNC.")]
Linear = Annotated[bool, typer.Option("--linear", help="Undo the sRGB curve first and work in linear light.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of all random numbers.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")]
Precision = Annotated[str, typer.Option(help="Of the networks: auto (the quickest), float32, bfloat16")]
Threads = Annotated[int | None, typer.Option(metavar="N", help="Threads on the processor. Default: all its cores.")]
Json = Annotated[bool, typer.Option("--json", help="Print each report as a line of JSON.")]
