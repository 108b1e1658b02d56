"""The command `blindinv train restorer`: a supervised network from blurred to sharp photos."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindinv.training.command import (
    Batch,
    Budget,
    Compile,
    Crop,
    Device,
    Every,
    Folder,
    Out,
    Processes,
    Rate,
    Run,
    Seed,
    Steps,
    Validation,
    chosen_device,
    integers,
    one_line_errors,
    seconds,
)  # fmt: skip

if TYPE_CHECKING:
    from blindinv.training.card import Card
    from blindinv.training.loop import State
    from blindinv.training.restorer import RestorerScores


def restorer(
    folder: Folder,
    out: Out = Path("runs/restorer"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 192,
    lr: Rate = 5e-4,
    channels: Annotated[
        str, typer.Option(metavar="N,N,...", help="Channels of the network, at a quarter of the resolution and coarser.")
    ] = "64,128,256",
    blocks: Annotated[int, typer.Option(metavar="N", min=1, help="Residual blocks at each.")] = 2,
    validation: Validation = None,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 240.0,
) -> None:
    """Train a network that sharpens photos, for 30 minutes unless --time-budget or --steps is given.

    It learns from the photos of DIR, blurred by random camera shake. The same command again goes on from the last
    checkpoint. Writes restorer.safetensors, its card, loss curve and sample pictures.
    """
    with one_line_errors():
        from blindinv.training.autoencoder import centre_crops
        from blindinv.training.loop import Plan
        from blindinv.training.restorer import RestorerRecipe, RestorerScores

        begin, sizes = time.monotonic(), integers("--channels", channels)
        plan = Plan(steps, seconds(time_budget, steps, 1800), lr, cooldown=0.7, checkpoint_every=checkpoint_every, seed=seed)
        place = chosen_device(device, processes)
        recipe = RestorerRecipe(folder, validation, batch, crop, sizes, blocks, seed, place, compile)
        photos, held_out = recipe.photos()
        scores = RestorerScores(centre_crops(held_out, 16))
        run = Run(out, plan, recipe, processes, begin)
        model, state = run.fit("restorer", scores)
        _finish(run, model, state, scores, len(photos))


def _finish(run: "Run[Any]", model: Any, state: "State", scores: "RestorerScores", count: int) -> None:
    from blindinv.training.card import folder_and_count, held_out
    from blindinv.training.export import averaged
    from blindinv.training.figures import sheet
    from blindinv.zoo.shipped import write_weights

    weights, recipe = run.out / "restorer.safetensors", run.recipe
    write_weights(weights, averaged(run.checkpoint), model.config)
    made = scores.restored(model, 4)
    picture = sheet([("blurred", scores.y[:4]), ("restored", made), ("sharp", scores.x[:4])])
    source: Any = recipe
    card = _card(folder_and_count(source.folder, count), held_out(source.validation, scores.x), run.parameters())
    run.finish(weights, state, picture, card)


def _card(data: str, validation: str, recipe: Mapping[str, object]) -> "Card":
    from blindinv.training.card import Card

    return Card(
        "Supervised restorer of blurred photos",
        "A residual UNet, from a photo blurred by camera shake and its noise level to the sharp photo; any size.",
        f"{data}, blurred on the fly by motion kernels of 64x64 pixels, intensity 0.2 to 1, with noise of 0 to 0.04",
        f"{validation}, blurred with one motion kernel each (64x64, intensity 0.5), periodic borders, noise 0.02",
        recipe,
        "`psnr`: of restored photos in dB, `psnr_blurred`: of the blurred ones, without any shift; `loss`: of training.",
    )
