"""The commands `blindinv bench NAME`: a table or figure of the papers each, and the page that shows them."""

import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from blindinv.benchmark import options as given
from blindinv.benchmark.options import Options, one_line_errors, run_bench

app = typer.Typer(name="bench", help="The tables and figures of the papers, one command each.", no_args_is_help=True)

ON_PHOTOS = {
    "photos-64": "The default method and its references on synthetic camera shake, 64 photos.",
    "table1": "All methods on synthetic camera shake (LatentDEM, table 1).",
    "true-kernel": "Methods that are given the true kernel: DPS, PiGDM, PSLD, DDNM.",
    "table2": "Skip-gradient schemes: time and quality (LatentDEM, table 2).",
    "table3": "Vanilla EM and diffusion EM (LatentDEM, table 3).",
    "annealing": "The kernel's error over t, with and without annealing (LatentDEM, figure 5).",
    "priors": "The default method on two priors (LatentDEM, figure 10); give --prior twice.",
    "kernel-prior": "BlindDPS with a diffusion prior of kernels and with none (BlindDPS, ablation).",
    "sparsity": "BlindDPS with l1 and l0 norms of the kernel; --weight several times (BlindDPS, table 4).",
    "ablations": "The default method with one part left out at a time.",
    "published": "LatentDEM as published.",
}
"""Those that take a folder of photos. Here so that `--help` needs no torch; what they are is in `BENCHES` of their files."""

Levin = Annotated[
    Path, typer.Argument(metavar="DIR", help="im1_kernel1_img.png, ... and gt/im1.png, gt/kernel1.png, ...", show_default=False)
]
Weight = Annotated[list[float] | None, typer.Option("--weight", metavar="X", min=0, help="Of the norm (sparsity only).")]
Lpips = Annotated[Path | None, typer.Option(metavar="FILE", help="torchvision's AlexNet or VGG-16, for LPIPS.")]
KernelSize = Annotated[int, typer.Option(metavar="N", min=9, max=129, help="Width of the kernel to find.")]


def _command(name: str) -> Callable[..., None]:
    def command(
        images: given.Images,
        method: given.Method = None,
        limit: given.Limit = None,
        out: given.Out = None,
        seed: given.Seed = 0,
        batch: given.Batch = 1,
        sigma: given.Sigma = 0.02,
        steps: given.Steps = None,
        prior: given.Prior = None,
        weight: Weight = None,
        lpips: Lpips = None,
        device: given.Device = "auto",
        pictures: given.Pictures = None,
        redo: given.Redo = False,
    ) -> None:
        options = Options(method or (), limit, out, seed, batch, steps, prior or (), device, pictures, redo, weight or ())
        with one_line_errors():
            from blindinv.benchmark.photos64 import photos64_task

            run_bench(name, options, lambda limit: photos64_task(images, limit=limit, seed=seed, sigma=sigma, lpips=lpips))

    return command


for _name, _help in ON_PHOTOS.items():
    app.command(_name, help=f"{_help}\n\nA run that was stopped goes on where it was.")(_command(_name))


@app.command("levin")
def levin(
    folder: Levin,
    method: given.Method = None,
    kernel_size: KernelSize = 31,
    limit: given.Limit = None,
    out: given.Out = None,
    seed: given.Seed = 0,
    batch: given.Batch = 1,
    steps: given.Steps = None,
    prior: given.Prior = None,
    device: given.Device = "auto",
    pictures: given.Pictures = None,
    redo: given.Redo = False,
) -> None:
    """All methods on real camera shake (Levin et al. 2009): PSNR after the best shift in quarter pixels, error ratio.

    A run that was stopped goes on where it was.
    """
    options = Options(method or (), limit, out, seed, batch, steps, prior or (), device, pictures, redo)
    with one_line_errors():
        from blindinv.benchmark.levin import levin_task

        run_bench("levin", options, lambda limit: levin_task(folder, kernel_size=kernel_size, limit=limit))


@app.command("prior")
def prior_report(
    images: given.Images,
    prior: Annotated[str, typer.Option(metavar="NAME|PATH|HUB", help="Diffusion model of images.")] = "photos",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Photos that are denoised; the round trip takes all.")] = 16,
    out: Annotated[Path, typer.Option(metavar="DIR", help="prior.md, prior.json and samples.png go there.")] = Path(
        "runs/prior-report"
    ),
    seed: given.Seed = 0,
    device: given.Device = "auto",
) -> None:
    """What a prior of images can do by itself: round trip, denoising next to classical denoisers, samples."""
    with one_line_errors():
        from rich.console import Console

        from blindinv.benchmark.options import context
        from blindinv.benchmark.prior import read_photos, report, samples_picture, write
        from blindinv.benchmark.table import rich_lines

        what, photos = context(prior, device, seed, None), read_photos(images, seed)
        console, sections = Console(), []
        with Console(stderr=True).status("loading") as status:
            for section in report(what, photos, limit, status.update):
                sections.append(section)
                console.print(rich_lines(section.title, section.lines))
            status.update("samples")
            page = write(out, what, photos, sections, samples_picture(what))
        typer.echo(f"report: {page}; figures and samples are beside it")


@app.command("operator-priors")
def operator_priors(
    kernel_prior: Annotated[str, typer.Option(metavar="NAME|PATH", help="Diffusion model of kernels.")] = "kernels64",
    tilt_prior: Annotated[str, typer.Option(metavar="NAME|PATH", help="Diffusion model of tilt maps.")] = "tilt",
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Kernels to draw.")] = 256,
    out: Annotated[Path, typer.Option(metavar="DIR", help="operator-priors.md, .json and .png go there.")] = Path("runs"),
    device: given.Device = "auto",
) -> None:
    """What the priors of kernels and of tilt maps can do by themselves: valid samples, no copies, denoising."""
    with one_line_errors():
        from rich.console import Console

        from blindinv.benchmark.operator_priors import operator_priors_report
        from blindinv.photo.settings import parse_device
        from blindinv.zoo.load import load_kernel_prior, load_tilt_prior

        where = parse_device(device)
        kernels, tilt = load_kernel_prior(kernel_prior, device=where), load_tilt_prior(tilt_prior, device=where)
        with Console(stderr=True).status("loading") as status:
            page = operator_priors_report(kernels, tilt, out, samples, tick=status.update)
        typer.echo(page)


def _others() -> Iterator[tuple[str, Callable[..., None]]]:
    """Commands of their own files: the function X of X_cli.py in this folder."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        name, end = module.name.removesuffix("_cli"), module.name.endswith("_cli")
        if end:
            yield name.replace("_", "-"), getattr(import_module(f"blindinv.benchmark.{module.name}"), name)


for _name, _function in _others():
    app.command(_name)(_function)


Records = Annotated[Path, typer.Option(metavar="DIR", help="Stored records, NAME.jsonl each.")]


@app.command("store")
def store(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Records of runs, NAME.jsonl.", show_default=False)],
    records: Records = Path("docs/records"),
) -> None:
    """Add the records of runs to those that are kept with the docs, smaller."""
    with one_line_errors():
        from blindinv.benchmark.report import store_file

        for file in files:
            typer.echo(f"{file} -> {store_file(file, records)}")


@app.command("report")
def report_page(
    records: Records = Path("docs/records"),
    out: Annotated[list[Path] | None, typer.Option("--out", metavar="FILE", help="Page; several times.")] = None,
    figures: Annotated[Path, typer.Option(metavar="DIR", help="Figures are drawn there.")] = Path("docs/images"),
) -> None:
    """Write the tables of docs/results.md and README.md, and their figures, from the stored records.

    Only what lies between "<!-- begin ... -->" and "<!-- end -->" is written anew.
    """
    with one_line_errors():
        from blindinv.benchmark.report import draw_figures, fill_file

        for page in out or [Path("docs/results.md"), Path("README.md")]:
            typer.echo(f"{page}: {'written' if fill_file(page, records) else 'as it was'}")
        for path, new in draw_figures(records, figures):
            typer.echo(f"{path}: {'drawn' if new else 'as it was'}")
