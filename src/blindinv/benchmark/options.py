"""From the options of a command to a run: what all of `blindinv bench` share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from blindinv.benchmark.bench import Ask, Bench
    from blindinv.benchmark.cases import Task
    from blindinv.benchmark.records import Record
    from blindinv.benchmark.rows import Context
    from blindinv.benchmark.runner import Plan


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


@contextmanager
def one_line_errors() -> Iterator[None]:
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
    _show(bench, plan.out, records)


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


def _show(bench: "Bench", out: Path, records: "Sequence[Record]") -> None:
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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
