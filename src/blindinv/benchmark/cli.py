"""The commands `blindinv bench photos-64`, `blindinv bench levin` and `blindinv bench prior`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from blindinv.benchmark.cases import Task
    from blindinv.benchmark.records import Record
    from blindinv.benchmark.rows import Context
    from blindinv.benchmark.runner import Plan
    from blindinv.benchmark.table import Column

app = typer.Typer(name="bench", help="The tables of the docs.", no_args_is_help=True)

DEFAULT = ("blurred", "wiener-true", "sparse-true", "latentdem-true", "latentdem")

Method = Annotated[list[str] | None, typer.Option("--method", metavar="NAME", help="A row of the table; give it several times.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N pictures.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of all random numbers.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Pictures side by side.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Steps of the reverse diffusion.")]
Prior = Annotated[str | None, typer.Option(metavar="NAME|PATH|HUB", help="Diffusion model of images; else the method's own.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")]
Pictures = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep a few results there and make a contact sheet.")]
Redo = Annotated[bool, typer.Option("--redo", help="Run also what is stored.")]


@app.command("photos-64")
def photos_64(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of photos; the first 64 by name are taken.", show_default=False)
    ],
    method: Method = None,
    limit: Limit = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Records (JSONL); the table is written beside it.")] = Path(
        "runs/photos-64.jsonl"
    ),
    seed: Seed = 0,
    batch: Batch = 4,
    sigma: Annotated[float, typer.Option(metavar="S", min=0, max=1, help="Noise level on [0, 1].")] = 0.02,
    steps: Steps = None,
    prior: Prior = None,
    device: Device = "auto",
    pictures: Pictures = None,
    redo: Redo = False,
) -> None:
    """Synthetic camera shake on photos of 256x256: PSNR, SSIM and kernel MNC after the best shift.

    A run that was stopped goes on where it was.
    """
    from blindinv.benchmark.photos64 import photos64_task
    from blindinv.benchmark.table import PHOTOS64

    with _one_line_errors():
        task = photos64_task(images, limit=limit, seed=seed, sigma=sigma)
        plan = _plan(task, method, out, batch, redo, _context(prior, device, seed, steps))
        _bench(plan, PHOTOS64, pictures)


@app.command("levin")
def levin(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="im1_kernel1_img.png, ... and gt/im1.png, gt/kernel1.png, ...", show_default=False),
    ],
    method: Method = None,
    kernel_size: Annotated[int, typer.Option(metavar="N", min=9, max=129, help="Width of the kernel to find.")] = 31,
    limit: Limit = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Records (JSONL); the table is written beside it.")] = Path(
        "runs/levin.jsonl"
    ),
    seed: Seed = 0,
    batch: Batch = 4,
    steps: Steps = None,
    prior: Prior = None,
    device: Device = "auto",
    pictures: Pictures = None,
    redo: Redo = False,
) -> None:
    """Real camera shake (Levin et al. 2009): PSNR after the best shift in quarter pixels.

    A run that was stopped goes on where it was.
    """
    from blindinv.benchmark.levin import levin_task
    from blindinv.benchmark.table import LEVIN

    with _one_line_errors():
        task = levin_task(folder, kernel_size=kernel_size, limit=limit)
        plan = _plan(task, method, out, batch, redo, _context(prior, device, seed, steps))
        _bench(plan, LEVIN, pictures)


@app.command("prior")
def prior_report(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of photos; the first 64 by name are taken.", show_default=False)
    ],
    prior: Annotated[str, typer.Option(metavar="NAME|PATH|HUB", help="Latent diffusion model of images.")] = "photos",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Photos that are denoised; the round trip takes all.")] = 16,
    out: Annotated[Path, typer.Option(metavar="DIR", help="prior.md, prior.json and samples.png go there.")] = Path(
        "runs/prior-report"
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """What a latent prior can do by itself: round trip, denoising next to classical denoisers, samples."""
    with _one_line_errors():
        from blindinv.benchmark.prior import read_photos, report, samples_picture, write
        from blindinv.benchmark.table import rich_lines

        context, photos = _context(prior, device, seed, None), read_photos(images, seed)
        console, sections = Console(), []
        with Console(stderr=True).status("loading") as status:
            for section in report(context, photos, limit, status.update):
                sections.append(section)
                console.print(rich_lines(section.title, section.lines))
            status.update("samples")
            write(out, context, photos, sections, samples_picture(context))
        typer.echo(f"report: {out / 'prior.md'}   figures: {out / 'prior.json'}   samples: {out / 'samples.png'}")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Exit code 2 and one line for what the user can put right, 130 for Ctrl-C."""
    from blindinv.photo.errors import first_line

    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        typer.echo(f"blindinv: {first_line(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("blindinv: stopped; the same command goes on where it was", err=True)
        raise typer.Exit(130) from None


def _context(prior: str | None, device: str, seed: int, steps: int | None) -> "Context":
    from blindinv.benchmark.rows import Context
    from blindinv.photo.settings import parse_device

    return Context(prior, parse_device(device), seed, steps)


def _plan(task: "Task", methods: Sequence[str] | None, out: Path, batch: int, redo: bool, context: "Context") -> "Plan":
    from blindinv.benchmark.rows import rows
    from blindinv.benchmark.runner import Plan

    table = rows()
    names = list(dict.fromkeys(methods or DEFAULT))
    for name in names:
        if name not in table:
            raise ValueError(f"--method {name}: there is no such row; give one of {', '.join(table)}")
    return Plan(task, {name: table[name] for name in names}, context, out, batch, redo)


def _bench(plan: "Plan", columns: "Sequence[Column]", pictures: Path | None) -> None:
    """Run, then print the table, write it beside the records, and make the contact sheet."""
    from blindinv.benchmark.runner import run
    from blindinv.benchmark.sheet import Gallery, spread_out
    from blindinv.benchmark.table import rich_table, write_markdown

    gallery = Gallery(pictures, spread_out(plan.task.cases)) if pictures else None
    with _progress(plan) as advance:
        steps = run(plan, gallery.keep, gallery.missing) if gallery else run(plan)
        records = [advance(record) for record in steps]
    Console().print(rich_table(plan.task.name, records, columns))
    write_markdown(plan.out.with_suffix(".md"), records, columns)
    typer.echo(f"records: {plan.out}   table: {plan.out.with_suffix('.md')}")
    if gallery:
        typer.echo(f"pictures: {gallery.sheet(list(plan.methods))}")


@contextmanager
def _progress(plan: "Plan") -> "Iterator[Callable[[Record], Record]]":
    """Two bars on stderr, images done and steps of the group in hand; yields what to call with each record."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        images = bar.add_task("images", total=len(plan.methods) * len(plan.task.cases))
        inner = bar.add_task("steps", total=None)
        plan.context.record = lambda p: bar.update(inner, completed=p.step, total=p.total)

        def advance(record: "Record") -> "Record":
            bar.update(images, advance=1, description=f"images ({record.method})")
            return record

        yield advance
