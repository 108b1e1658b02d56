"""What all training commands share: their options, a run from start to finish, progress bars, errors in one line."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError

from blindinv.photo import command
from blindinv.photo.bars import bars

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from blindinv.training.card import Card
    from blindinv.training.loop import Plan, Recipe, State

M = TypeVar("M", bound="torch.nn.Module")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
DATA_ONLY = ("folder", "validation", "cache", "shift", "scale")  # what a card says in other words, or not at all

Folder = Annotated[Path, typer.Argument(metavar="DIR", readable=False, help="Folder of photos, any sizes.", show_default=False)]
Out = Annotated[Path, typer.Option(metavar="DIR", readable=False, help="Folder of all that is written.")]
Budget = Annotated[str | None, typer.Option(metavar="2h|30m|90s", help="Time for this run.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, help="Steps in all, those of earlier runs included.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Samples per step and process.")]
Crop = Annotated[int, typer.Option(metavar="N", min=4, help="Size of the crops that are trained on.")]
Channels = Annotated[str, typer.Option(metavar="N,N,...", help="Channels of the UNet, from fine to coarse.")]
Rate = Annotated[float, typer.Option(metavar="RATE", min=1e-8, max=1.0, help="Peak learning rate of AdamW.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of first weights, data and noise.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")]
Processes = Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Data parallel processes on the CPU.")]
Compile = Annotated[bool, typer.Option("--compile", help="Use torch.compile.")]
Every = Annotated[float, typer.Option(metavar="S", min=0, help="Seconds between checkpoints.")]
Warm = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Start from the weights of this prior, where their shapes agree.")
]
Validation = Annotated[
    Path | None, typer.Option(metavar="DIR", readable=False, help="Folder of other photos. Default: a tenth of DIR is kept out.")
]


one_line_errors = partial(
    command.one_line_errors, ValueError, OSError, SafetensorError, stopped="the same command goes on from the last checkpoint"
)


@dataclass(frozen=True)
class Run(Generic[M]):
    """One run of a command.

    Args:
        out: folder of everything that is written.
        plan: how long and how fast.
        recipe: what is trained on what.
        processes: of data parallel training.
        begin: `time.monotonic()` when the command began; the time budget counts from there.
    """

    out: Path
    plan: "Plan"
    recipe: "Recipe[M]"
    processes: int
    begin: float

    @property
    def checkpoint(self) -> Path:
        """The file that training goes on from."""
        return self.out / "checkpoint.safetensors"

    def fit(self, name: str, scores: "Callable[[M], dict[str, float]]") -> "tuple[M, State]":
        """Train, or go on training, with a progress bar."""
        from blindinv.training.loop import data_parallel, train

        model, loss = self.recipe.setup()
        watched, plan = Watched(loss), self.plan
        with data_parallel(self.recipe, self.out, plan, self.processes), _bar(name, plan, watched) as report:
            if plan.seconds is not None:
                plan = replace(plan, seconds=max(1.0, plan.seconds - (time.monotonic() - self.begin)))
            return train(model, watched, self.out, plan, scores, report)

    def parameters(self) -> dict[str, object]:
        """Every parameter of recipe and plan."""
        recipe: Any = self.recipe
        chosen = {k: v for k, v in asdict(recipe).items() if k not in DATA_ONLY} | asdict(self.plan)
        return chosen | {"processes": self.processes}

    def finish(self, weights: Path, state: "State", picture: "Image", card: "Card") -> None:
        """Write loss curve, sample pictures and card beside the weights, and say where they are."""
        from blindinv.training.figures import loss_curve
        from blindinv.training.loop import write_atomically

        for name, image in (("loss.png", loss_curve(state.history)), ("samples.png", picture)):
            write_atomically(self.out / name, lambda p, image=image: image.save(p, "PNG"))  # type: ignore[misc]
        page = card.write(state, weights)
        typer.echo(_figures(state.history[-1]))
        typer.echo(f"weights: {weights}   card: {page}   pictures: {self.out / 'samples.png'}, {self.out / 'loss.png'}")


class Watched:
    """A loss that remembers a running mean of its values, for the progress bar."""

    def __init__(self, loss: "Callable[[Any, torch.Generator], Tensor]") -> None:
        self.loss, self.mean = loss, float("nan")

    def __call__(self, model: Any, generator: "torch.Generator") -> "Tensor":
        """The loss."""
        value = self.loss(model, generator)
        now = value.item()
        self.mean = 0.95 * self.mean + 0.05 * now if self.mean == self.mean else now
        return value


def seconds(text: str | None, steps: int | None, default: float) -> float | None:
    """The time budget in seconds; None, no limit, if only a number of steps is given."""
    if text is None:
        return None if steps else default
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text) or not (total := sum(float(n) * UNITS[u] for n, u in _amounts(text))):
        raise ValueError(f"--time-budget {text}: give hours, minutes or seconds, like 2h, 30m, 90s or 1h30m")
    return total


def _amounts(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(\d+(?:\.\d+)?)([hms])", text)


def integers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between; a ValueError names the option."""
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise ValueError(f"{option} {text}: give whole numbers with commas between")
    return tuple(int(n) for n in text.split(","))


def pair(option: str, text: str) -> tuple[int, int]:
    """Two whole numbers with a comma between; a ValueError names the option."""
    numbers = integers(option, text)
    if len(numbers) != 2:
        raise ValueError(f"{option} {text}: give two numbers with a comma between")
    return numbers[0], numbers[1]


def chosen_device(text: str, processes: int) -> str:
    """The device of the option; several processes are on the CPU."""
    from blindinv.photo.settings import parse_device

    device = "cpu" if text == "auto" and processes > 1 else parse_device(text)
    if processes > 1 and device != "cpu":
        raise ValueError(f"--processes {processes}: only on the CPU; use --device cpu, or one process")
    return device


def _figures(row: dict[str, float]) -> str:
    rest = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "seconds"))
    return f"step {row['step']:.0f}  {row['seconds']:.0f} s  {rest}"


@contextmanager
def counting_bar(name: str = "latents of photos") -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if it is a terminal; yields what to call with the numbers of things done and of all."""
    with bars() as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _bar(name: str, plan: "Plan", watched: Watched) -> "Iterator[Callable[[State, float], None]]":
    """A bar on stderr, if it is a terminal, and a line there for every checkpoint; yields what to call after each step."""
    console = Console(stderr=True)
    fields = (TextColumn("step {task.fields[step]}"), TextColumn("loss {task.fields[loss]}"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), *fields)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task, rows = bar.add_task(name, total=1.0, step="-", loss="-"), -1

        def report(state: "State", done: float) -> None:
            nonlocal rows
            if len(state.history) > rows >= 0:
                console.print(_figures(state.history[-1]), soft_wrap=True, highlight=False)
            rows = len(state.history)
            step = f"{state.step}/{plan.steps}" if plan.steps else str(state.step)
            bar.update(task, completed=done, step=step, loss=f"{watched.mean:.4f}")

        yield report
