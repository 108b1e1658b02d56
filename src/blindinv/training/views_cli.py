"""The command `blindinv train views`: objects, their pictures, an autoencoder, and a view prior."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from blindinv.training.command import (
    Budget,
    Compile,
    Device,
    Every,
    Out,
    Processes,
    Rate,
    Run,
    Seed,
    Steps,
    chosen_device,
    counting_bar,
    integers,
    one_line_errors,
    seconds,
)  # fmt: skip

if TYPE_CHECKING:
    from blindinv.training.loop import State
    from blindinv.training.view_data import Shards

HELD_OUT = 64


def views(
    out: Out = Path("runs/views"),
    time_budget: Budget = None,
    steps: Steps = None,
    objects: Annotated[int, typer.Option(metavar="N", min=2, help="Procedural objects to train on.")] = 6000,
    pictures: Annotated[int, typer.Option(metavar="N", min=5, help="Pictures of each.")] = 12,
    size: Annotated[int, typer.Option(metavar="N", min=32, max=256, help="Side of the pictures in pixels.")] = 64,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", readable=False, help="Folder of the pictures. Default: OUT/pictures.")
    ] = None,
    autoencoder_steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the autoencoder.")] = 1500,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Objects per step and process.")] = 8,
    targets: Annotated[int, typer.Option(metavar="N", min=1, help="Wanted views of each.")] = 4,
    lr: Rate = 1e-3,
    encoder: Annotated[str, typer.Option(metavar="N,N,...", help="Channels of the UNet of the input.")] = "48,80,112,128",
    channels: Annotated[str, typer.Option(metavar="N,N,...", help="Channels of the denoiser.")] = "80,128,160",
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 240.0,
) -> None:
    """Train a view prior on pictures of procedural objects, for 2 hours unless --time-budget or --steps is given.

    The pictures are rendered first, then the autoencoder of the shipped photos is trained on on them. The same command again
    goes on from where it was. Writes objects.safetensors, its card, loss curve and sample pictures.
    """
    with one_line_errors():
        from blindinv.training.loop import Plan
        from blindinv.training.prior import check_channels
        from blindinv.training.views import ViewPriorRecipe, ViewScores

        begin, place = time.monotonic(), chosen_device(device, processes)
        if size % 16:
            raise ValueError(f"--size {size}: give a multiple of 16")
        if targets >= pictures:
            raise ValueError(f"--targets {targets}: there are {pictures} pictures of an object, and one of them is given")
        nets = integers("--encoder", encoder), integers("--channels", channels)
        for sizes in nets:
            check_channels(sizes)
        plan = Plan(steps, seconds(time_budget, steps, 7200), lr, cooldown=0.6, checkpoint_every=checkpoint_every, seed=seed)
        where, held_out = _pictures(data or out / "pictures", objects, pictures, size)
        first = _autoencoder(out / "autoencoder", where, held_out, autoencoder_steps, place, seed)
        recipe = ViewPriorRecipe(where, first, *nets, batch, targets, seed, place, compile)
        run = Run(out, plan, recipe, processes, begin)
        _, state = run.fit("view prior", ViewScores(held_out, targets=min(4, targets)))
        _finish(run, state, held_out, objects)


def _pictures(folder: Path, objects: int, pictures: int, size: int) -> "tuple[Path, Shards]":
    """Render what is not there yet; the folder to train on, and the held-out objects."""
    from blindinv.training.view_data import Shards, render_dataset
    from blindinv.views.objects import TRAINING, VALIDATION

    with counting_bar("pictures of objects") as report:
        render_dataset(folder / "val", min(HELD_OUT, objects), pictures, size, VALIDATION, report=report)
        render_dataset(folder / "train", objects, pictures, size, TRAINING, report=report)
    return folder / "train", Shards.open(folder / "val")


def _autoencoder(out: Path, folder: Path, held_out: "Shards", steps: int, device: str, seed: int) -> Path:
    """Train the autoencoder, or go on; its checkpoint."""
    from blindinv.training.autoencoder import AutoencoderScores
    from blindinv.training.loop import Plan
    from blindinv.training.views import ViewAutoencoderRecipe

    pictures = 2 * held_out.pictures[0][:, 0, :3].float() / 255 - 1
    run = Run(out, Plan(steps, None, 1e-3, cooldown=0.7, seed=seed), ViewAutoencoderRecipe(folder, device=device), 1, 0.0)
    run.fit("autoencoder", AutoencoderScores(pictures))
    return run.checkpoint


def _finish(run: "Run[Any]", state: "State", held_out: "Shards", objects: int) -> None:
    from blindinv.training.card import view_prior_card
    from blindinv.training.export import load_autoencoder
    from blindinv.training.view_figures import views_picture
    from blindinv.training.views import ViewPriorRecipe, export_view_prior

    weights, recipe = run.out / "objects.safetensors", cast(ViewPriorRecipe, run.recipe)
    prior = export_view_prior(run.checkpoint, recipe.config(load_autoencoder(recipe.autoencoder), held_out.size), weights)
    card = view_prior_card(objects, held_out.views, held_out.size, len(held_out), run.parameters())
    run.finish(weights, state, views_picture(prior, held_out), card)
