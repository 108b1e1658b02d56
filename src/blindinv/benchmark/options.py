"""From the options of a command to a run: what all of `blindinv bench` share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindinv.photo import command

if TYPE_CHECKING:
    from blindinv.benchmark.bench import Ask, Bench
    from blindinv.benchmark.cases import Task
    from blindinv.benchmark.records import Record
    from blindinv.benchmark.rows import Context
    from blindinv.benchmark.runner import Plan


Images = Annotated[Path, typer.Option(metavar="DIR", help="Folder of photos; the first 64 by name.", show_default=False)]
Method = Annotated[list[str] | None, typer.Option("--method", metavar="NAME", help="A row; give it several times.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N pictures.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Records (JSONL); the table is written beside it.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of all random numbers.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Pictures side by side; a killed run loses those in hand.")]
Sigma = Annotated[float, typer.Option(metavar="S", min=0, max=1, help="Noise level on [0, 1].")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Steps of the reverse diffusion.")]
Prior = Annotated[list[str] | None, typer.Option("--prior", metavar="NAME|PATH|HUB", help="Diffusion model of images.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")]
Pictures = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep a few results there and make a contact sheet.")]
Redo = Annotated[bool, typer.Option("--redo", help="Run also what is stored.")]


@dataclass(frozen=True)
class Options:
    """What the user gave; see the options of the commands."""

    methods: Sequence[str] = ()
    limit: int | None = None
    out: Path | None = None
    seed: int = 0
    batch: int = 1
    steps: int | None = None
    priors: Sequence[str] = ()
    device: str = "auto"
    pictures: Path | None = None
    redo: bool = False
    weights: Sequence[float] = ()


one_line_errors = partial(
    command.one_line_errors, ValueError, ImportError, OSError, stopped="the same command goes on where it was"
)


def context(prior: str | None, device: str, seed: int, steps: int | None) -> "Context":
    """What rows share, with the device checked."""
    from blindinv.benchmark.rows import Context
    from blindinv.photo.settings import parse_device

    return Context(prior, parse_device(device), seed, steps)


def run_bench(name: str, options: Options, task: "Callable[[int | None], Task]") -> None:
    """Run a table, print it beside the paper's, and write its records, Markdown, figure and pictures.

    Args:
        name: of the table.
        options: of the user.
        task: number of pictures -> the protocol.

    Raises:
        ValueError: an option that the table does not take, or a row that there is not.
    """
    from blindinv.benchmark.bench import benches

    bench = benches()[name]
    plan = _plan(name, bench, options, task)
    records = _run(plan, options.pictures)
    show(bench, plan.out, records)


def _ask(name: str, bench: "Bench", options: Options) -> "tuple[Ask, str | None]":
    """What goes to the table, and the one prior of all rows, if any."""
    from blindinv.benchmark.bench import Ask

    several = name == "priors"
    if len(options.priors) > 1 and not several:
        raise ValueError(f"{name} takes one --prior; `blindinv bench priors` compares several")
    if options.weights and name != "sparsity":
        raise ValueError(f"{name} takes no --weight; that belongs to `blindinv bench sparsity`")
    if several:
        return Ask(priors=tuple(options.priors)), None
    return Ask(weights=tuple(options.weights)), next(iter(options.priors), None)


def _plan(name: str, bench: "Bench", options: Options, task: "Callable[[int | None], Task]") -> "Plan":
    from blindinv.benchmark.runner import Plan

    ask, prior = _ask(name, bench, options)
    return Plan(
        task(options.limit or bench.limit),
        bench.chosen(ask, options.methods),
        context(prior, options.device, options.seed, options.steps or bench.steps),
        options.out or Path(f"runs/{name}.jsonl"),
        options.batch,
        options.redo,
        bench.watch,
        bench.kernels,
    )


def _run(plan: "Plan", pictures: Path | None) -> "list[Record]":
    from blindinv.benchmark.runner import run
    from blindinv.benchmark.sheet import Gallery, spread_out

    gallery = Gallery(pictures, spread_out(plan.task.cases)) if pictures else None
    with _progress(plan) as advance:
        steps = run(plan, gallery.keep, gallery.missing) if gallery else run(plan)
        records = [advance(record) for record in steps]
    if gallery:
        typer.echo(f"pictures: {gallery.sheet(list(plan.methods))}")
    return records


def show(bench: "Bench", out: Path, records: "Sequence[Record]") -> None:
    """Print a table with its goals, and write its Markdown and its figure beside the records."""
    from rich.console import Console

    from blindinv.benchmark.bench import Results
    from blindinv.benchmark.figures import write_figure
    from blindinv.benchmark.table import lines, markdown_lines, rich_lines, write_markdown

    table, console = lines(records, bench.columns, bench.published), Console()
    if not console.is_terminal:
        console.width = 160
    console.print(rich_lines(bench.title, table))
    console.print(f"[dim]{bench.source}[/dim]", highlight=False)
    results = Results(records)
    for goal in bench.goals:
        what, asked, reached = goal.line(results)
        console.print(f"goal: {what}: asked {asked}; {reached}", highlight=False)
    write_markdown(out.with_suffix(".md"), markdown_lines(table))
    typer.echo(f"records: {out}   table: {out.with_suffix('.md')}")
    if bench.figure is not None:
        try:
            write_figure(out.with_suffix(".png"), bench.figure, records)
            typer.echo(f"figure: {out.with_suffix('.png')}")
        except ImportError as error:  # the numbers are there; only the picture is not
            typer.echo(f"no figure: {error}", err=True)


@contextmanager
def _progress(plan: "Plan") -> "Iterator[Callable[[Record], Record]]":
    """Two bars on stderr, images done and steps of the group in hand; yields what to call with each record."""
    from blindinv.photo.bars import bars

    with bars() as bar:
        images = bar.add_task("images", total=len(plan.methods) * len(plan.task.cases))
        inner = bar.add_task("steps", total=None)
        plan.context.record = lambda p: bar.update(inner, completed=p.step, total=p.total)

        def advance(record: "Record") -> "Record":
            bar.update(images, advance=1, description=f"images ({record.method})")
            return record

        yield advance
