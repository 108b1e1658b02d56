"""The commands `blindinv train autoencoder`, `blindinv train prior` and `blindinv train kernel-denoiser`."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from blindinv.priors.autoencoder import PatchAutoencoder
    from blindinv.priors.kernel import KernelDenoiser
    from blindinv.training.card import Card
    from blindinv.training.export import PriorData
    from blindinv.training.loop import Plan, Recipe, State

app = typer.Typer(name="train", help="Train the networks of the package on your own photos.", no_args_is_help=True)

M = TypeVar("M", bound="torch.nn.Module")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
DATA_ONLY = ("folder", "validation", "cache", "shift", "scale")  # what a card says in other words, or not at all

Folder = Annotated[Path, typer.Argument(metavar="DIR", readable=False, help="Folder of photos, any sizes.", show_default=False)]
Out = Annotated[Path, typer.Option(metavar="DIR", readable=False, help="Folder of all that is written.")]
Budget = Annotated[str | None, typer.Option(metavar="2h|30m|90s", help="Time for this run.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, help="Steps in all, those of earlier runs included.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Samples per step and process.")]
Crop = Annotated[int, typer.Option(metavar="N", min=4, help="Size of the crops that are trained on.")]
Rate = Annotated[float, typer.Option(metavar="RATE", min=1e-8, max=1.0, help="Peak learning rate of AdamW.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of first weights, data and noise.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")]
Processes = Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Data parallel processes on the CPU.")]
Compile = Annotated[bool, typer.Option("--compile", help="Use torch.compile.")]
Every = Annotated[float, typer.Option(metavar="S", min=0, help="Seconds between checkpoints.")]
Validation = Annotated[
    Path | None, typer.Option(metavar="DIR", readable=False, help="Folder of other photos. Default: a tenth of DIR is kept out.")
]


@app.command()
def autoencoder(
    folder: Folder,
    out: Out = Path("runs/autoencoder"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 128,
    lr: Rate = 1.5e-3,
    latent_channels: Annotated[int, typer.Option(metavar="N", min=1, max=48, help="Channels of the latents.")] = 8,
    width: Annotated[str, typer.Option(metavar="N,N", help="Channels at 1/2 and at 1/4 of the resolution.")] = "48,128",
    depth: Annotated[str, typer.Option(metavar="N,N", help="Residual blocks there.")] = "1,2",
    validation: Validation = None,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 100.0,
) -> None:
    """Train an autoencoder on the photos of DIR, for 30 minutes unless --time-budget or --steps is given.

    The same command again goes on from the last checkpoint. Writes weights, card, loss curve and sample pictures.
    """
    with _one_line_errors():
        from blindinv.training.autoencoder import AutoencoderRecipe, AutoencoderScores, centre_crops
        from blindinv.training.loop import Plan

        plan = Plan(steps, _seconds(time_budget, steps, 1800), lr, cooldown=0.7, checkpoint_every=checkpoint_every, seed=seed)
        w, d = _pair("--width", width), _pair("--depth", depth)
        place = _device(device, processes)
        recipe = AutoencoderRecipe(folder, validation, batch, crop, latent_channels, w, d, seed, place, compile)
        photos, held_out = recipe.photos()
        views = centre_crops(held_out, 32)
        run = Run(out, plan, recipe, processes, time.monotonic())
        model, state = run.fit("autoencoder", AutoencoderScores(2 * views - 1))
        _finish_autoencoder(run, model, state, views, len(photos))


@app.command()
def prior(
    folder: Folder,
    autoencoder: Annotated[Path, typer.Option(metavar="DIR", readable=False, help="--out of the autoencoder's training.")] = Path(
        "runs/autoencoder"
    ),
    out: Out = Path("runs/prior"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Annotated[int, typer.Option(metavar="N", min=4, max=64, help="Size of the training crops in latents.")] = 32,
    lr: Rate = 1e-3,
    channels: Annotated[str, typer.Option(metavar="N,N,...", help="Channels of the UNet, from fine to coarse.")] = "96,192,256",
    validation: Validation = None,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 240.0,
) -> None:
    """Train a latent diffusion prior on the photos of DIR, for 2 hours unless --time-budget or --steps is given.

    The latents of the photos are cached first. The same command again goes on from the last checkpoint.
    Writes photos.safetensors (autoencoder and denoiser), its card, loss curve and sample pictures.
    """
    with _one_line_errors():
        from blindinv.training.export import PriorData
        from blindinv.training.loop import Plan
        from blindinv.training.prior import PriorRecipe, PriorScores, check_sizes

        begin, sizes, place = time.monotonic(), _integers("--channels", channels), _device(device, processes)
        check_sizes(sizes, crop)
        plan = Plan(steps, _seconds(time_budget, steps, 7200), lr, cooldown=0.6, checkpoint_every=checkpoint_every, seed=seed)
        source = PriorData(folder, validation, autoencoder / "checkpoint.safetensors", out, place)
        with _latents_bar() as report:
            views = source.prepare(report)
        shift, scale = (tuple(v.tolist()) for v in source.statistics())
        recipe = PriorRecipe(source.cache, shift, scale, sizes, batch, crop, seed, place, compile)
        run = Run(out, plan, recipe, processes, begin)
        _, state = run.fit("prior", PriorScores(source.encode(views)))
        _finish_prior(run, state, source, views)


@app.command("kernel-denoiser")
def kernel_denoiser(
    out: Out = Path("runs/kernel-denoiser"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 32,
    size: Annotated[int, typer.Option(metavar="N", min=9, max=129, help="Size of the kernels.")] = 64,
    lr: Rate = 2e-3,
    channels: Annotated[int, typer.Option(metavar="N", min=1, help="Channels of the network.")] = 32,
    depth: Annotated[int, typer.Option(metavar="N", min=2, help="Convolutions of the network.")] = 5,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 60.0,
) -> None:
    """Train the denoiser of blur kernels, for 15 minutes unless --time-budget or --steps is given; it needs no data.

    The same command again goes on from the last checkpoint. Writes weights, card, loss curve and sample pictures.
    """
    with _one_line_errors():
        from blindinv.training.kernel_denoiser import KernelDenoiserRecipe, KernelDenoiserScores
        from blindinv.training.loop import Plan

        limit = _seconds(time_budget, steps, 900)
        plan = Plan(steps, limit, lr, weight_decay=0, cooldown=0.7, checkpoint_every=checkpoint_every, seed=seed)
        recipe = KernelDenoiserRecipe(size, batch, channels, depth, seed, _device(device, processes), compile)
        run = Run(out, plan, recipe, processes, time.monotonic())
        model, state = run.fit("kernel denoiser", KernelDenoiserScores(size))
        _finish_kernel_denoiser(run, model, state, size)


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


def _finish_autoencoder(run: "Run[Any]", model: "PatchAutoencoder", state: "State", views: "Tensor", count: int) -> None:
    from blindinv.training.card import autoencoder_card, folder_and_count, held_out
    from blindinv.training.export import averaged
    from blindinv.training.figures import autoencoder_picture
    from blindinv.zoo.shipped import write_weights

    weights = run.out / "autoencoder.safetensors"
    write_weights(weights, averaged(run.checkpoint), model.config)
    recipe: Any = run.recipe
    data = folder_and_count(recipe.folder, count)
    card = autoencoder_card(data, held_out(recipe.validation, views), run.parameters())
    run.finish(weights, state, autoencoder_picture(model, views[:4]), card)


def _finish_prior(run: "Run[Any]", state: "State", source: "PriorData", views: "Tensor") -> None:
    from blindinv.training.card import folder_and_count, held_out, prior_card
    from blindinv.training.export import cached_photos, export_prior
    from blindinv.training.figures import prior_picture

    weights, recipe = run.out / "photos.safetensors", cast(Any, run.recipe)
    config = {"autoencoder": source.encoder().config, "unet": {"channels": list(recipe.channels)}}
    shift, scale = source.statistics()
    made = export_prior(source.autoencoder, run.checkpoint, config, shift, scale, views[:: -(-len(views) // 8)], weights)
    data = folder_and_count(source.folder, cached_photos(source.cache))
    card = prior_card(data, held_out(source.validation, views), run.parameters())
    run.finish(weights, state, prior_picture(made.to(source.device), views[:1]), card)


def _finish_kernel_denoiser(run: "Run[Any]", model: "KernelDenoiser", state: "State", size: int) -> None:
    from blindinv.training.card import kernel_denoiser_card
    from blindinv.training.export import averaged
    from blindinv.training.figures import kernel_picture
    from blindinv.zoo.shipped import write_weights

    weights = run.out / "kernel_denoiser.safetensors"
    write_weights(weights, averaged(run.checkpoint), model.config)
    run.finish(weights, state, kernel_picture(model, size), kernel_denoiser_card(size, run.parameters()))


def _seconds(text: str | None, steps: int | None, default: float) -> float | None:
    """The time budget in seconds; None, no limit, if only a number of steps is given."""
    if text is None:
        return None if steps else default
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text) or not (total := sum(float(n) * UNITS[u] for n, u in _amounts(text))):
        raise ValueError(f"--time-budget {text}: give hours, minutes or seconds, like 2h, 30m, 90s or 1h30m")
    return total


def _amounts(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(\d+(?:\.\d+)?)([hms])", text)


def _integers(option: str, text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise ValueError(f"{option} {text}: give whole numbers with commas between")
    return tuple(int(n) for n in text.split(","))


def _pair(option: str, text: str) -> tuple[int, int]:
    numbers = _integers(option, text)
    if len(numbers) != 2:
        raise ValueError(f"{option} {text}: give two numbers with a comma between")
    return numbers[0], numbers[1]


def _device(text: str, processes: int) -> str:
    from blindinv.photo.settings import parse_device

    device = "cpu" if text == "auto" and processes > 1 else parse_device(text)
    if processes > 1 and device != "cpu":
        raise ValueError(f"--processes {processes}: only on the CPU; use --device cpu, or one process")
    return device


def _figures(row: dict[str, float]) -> str:
    rest = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "seconds"))
    return f"step {row['step']:.0f}  {row['seconds']:.0f} s  {rest}"


@contextmanager
def _latents_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if it is a terminal; yields what to call with the numbers of photos done and of all."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("latents of photos", total=None)
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


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Exit code 2 and one line for what the user can put right, 130 for Ctrl-C."""
    from safetensors import SafetensorError

    from blindinv.photo.errors import first_line

    try:
        yield
    except (ValueError, OSError, SafetensorError) as error:
        typer.echo(f"blindinv: {first_line(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("blindinv: stopped; the same command goes on from the last checkpoint", err=True)
        raise typer.Exit(130) from None
