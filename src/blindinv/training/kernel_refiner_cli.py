"""The command `blindinv train kernel-refiner`: a network that corrects what EM finds of blur kernels."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindinv.training.command import (
    Batch,
    Budget,
    Compile,
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
    counting_bar,
    one_line_errors,
    seconds,
)  # fmt: skip

if TYPE_CHECKING:
    from torch import Tensor

    from blindinv.training.card import Card
    from blindinv.training.loop import State


def kernel_refiner(
    folder: Folder,
    out: Out = Path("runs/kernel-refiner"),
    examples: Annotated[int, typer.Option(metavar="N", min=1, help="Crops that are blurred; 5 s each on one core.")] = 1000,
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 16,
    lr: Rate = 2e-3,
    channels: Annotated[int, typer.Option(metavar="N", min=1, help="Channels of the network at full resolution.")] = 20,
    validation: Validation = None,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 60.0,
) -> None:
    """Train the network that corrects the kernels of latentdem-refined, for 10 minutes unless --time-budget or --steps is given.

    Photos of DIR are blurred, EM with the shipped prior looks for the kernels, and the network learns from what it found;
    the time for that comes on top. The same command again goes on where it was.
    Writes kernel_refiner.safetensors, its card, loss curve and sample pictures.
    """
    with one_line_errors():
        from blindinv.training.autoencoder import check_folder
        from blindinv.training.kernel_refiner import Examples, RefinerRecipe, RefinerScores
        from blindinv.training.loop import Plan

        limit, place = seconds(time_budget, steps, 600), chosen_device(device, processes)
        plan = Plan(steps, limit, lr, weight_decay=0.05, cooldown=0.9, checkpoint_every=checkpoint_every, seed=seed)
        made = Examples(out / "examples", check_folder(folder), validation, examples)
        with counting_bar("examples") as report:
            made.make(processes, report)
        held = made.read("held")
        run = Run(out, plan, RefinerRecipe(made, batch, channels, seed, place, compile), processes, time.monotonic())
        model, state = run.fit("kernel refiner", RefinerScores(*held))
        _finish(run, model, state, *held)


def _finish(run: "Run[Any]", model: Any, state: "State", seen: "Tensor", truth: "Tensor") -> None:
    from blindinv.training.export import averaged
    from blindinv.training.figures import refiner_picture
    from blindinv.zoo.shipped import write_weights

    weights, made = run.out / "kernel_refiner.safetensors", run.recipe.examples  # type: ignore[attr-defined]
    write_weights(weights, averaged(run.checkpoint), model.config)
    parameters = {k: v for k, v in run.parameters().items() if k != "examples"}
    where = "photos kept out" if made.validation is None else f"photos of the folder `{made.validation.resolve().name}`"
    data = f"{made.count} crops of photos of the folder `{made.folder.resolve().name}`", f"{len(seen)} crops of {where}"
    run.finish(weights, state, refiner_picture(model, seen[:8], truth[:8]), _card(*data, parameters))


def _card(data: str, validation: str, recipe: Mapping[str, object]) -> "Card":
    from blindinv.training.card import Card

    return Card(
        "Refiner of blur kernels",
        "A UNet that corrects the mean of EM's kernel and its start, from both and the least squares of the last M-step.",
        f"{data}, 256x256 pixels, blurred with periodic borders: motion kernels of 64x64 pixels, intensity 0.15 to 0.9, noise "
        "0.02 or 0.008 to 0.032; what EM with the shipped prior `photos` found of each, from the best of three random starts",
        f"{validation}, blurred likewise",
        recipe,
        "`mnc`: of refined kernels, over whole pixels; `mnc_mean`: of the mean of EM and its start; `loss`: of training.",
    )
