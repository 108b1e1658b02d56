"""The commands `blindinv train kernel-prior` and `blindinv train tilt-prior`: diffusion priors that need no photos."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindinv.training.command import (
    Batch,
    Budget,
    Channels,
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
    integers,
    one_line_errors,
    seconds,
)  # fmt: skip

if TYPE_CHECKING:
    from blindinv.training.loop import State


def kernel_prior(
    out: Out = Path("runs/kernel-prior"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 32,
    size: Annotated[int, typer.Option(metavar="N", min=9, max=129, help="Size of the kernels.")] = 64,
    bank: Annotated[int, typer.Option(metavar="N", min=2, help="Kernels to make at the start and to train on.")] = 60_000,
    lr: Rate = 1e-3,
    channels: Channels = "64,96,128",
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 120.0,
) -> None:
    """Train a diffusion prior of blur kernels, for 45 minutes unless --time-budget or --steps is given; it needs no data.

    The kernels are those of BlindDPS: five parts camera shake, one part Gaussian. The same command again goes on from the
    last checkpoint. Writes weights, card, loss curve and samples.
    """
    with one_line_errors():
        from blindinv.training.kernel_prior import KernelPriorRecipe, KernelPriorScores
        from blindinv.training.loop import Plan
        from blindinv.training.prior import check_channels

        begin, sizes = time.monotonic(), integers("--channels", channels)
        check_channels(sizes)
        limit = seconds(time_budget, steps, 2700)
        plan = Plan(steps, limit, lr, cooldown=0.6, checkpoint_every=checkpoint_every, seed=seed)
        recipe = KernelPriorRecipe(size, sizes, bank, batch, seed, chosen_device(device, processes), compile)
        run = Run(out, plan, recipe, processes, begin)
        _, state = run.fit("kernel prior", KernelPriorScores(size))
        _finish_kernel_prior(run, state, recipe.config())


def _finish_kernel_prior(run: "Run[Any]", state: "State", config: dict[str, Any]) -> None:
    from blindinv.training.card import kernel_prior_card
    from blindinv.training.export import averaged
    from blindinv.training.operator_figures import kernel_samples_picture
    from blindinv.zoo.shipped import build_kernel_prior, read_weights, write_weights

    size = config["size"]
    weights = run.out / f"kernels{size}.safetensors"
    write_weights(weights, averaged(run.checkpoint), config)
    prior = build_kernel_prior(*read_weights(weights))
    run.finish(weights, state, kernel_samples_picture(prior), kernel_prior_card(size, run.parameters()))


def tilt_prior(
    out: Out = Path("runs/tilt-prior"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 16,
    crop: Annotated[int, typer.Option(metavar="N", min=8, max=128, help="Size of the training maps.")] = 64,
    lr: Rate = 1e-3,
    channels: Channels = "32,64,64",
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 60.0,
) -> None:
    """Train a diffusion prior of turbulence tilt maps, for 15 minutes unless --time-budget or --steps is given.

    It needs no data: the maps are simulated, as in BlindDPS. The same command again goes on from the last checkpoint.
    Writes weights, card, loss curve and samples.
    """
    with one_line_errors():
        from blindinv.training.loop import Plan
        from blindinv.training.prior import PriorScores
        from blindinv.training.tilt_prior import TiltPriorRecipe, validation_states

        begin, sizes = time.monotonic(), integers("--channels", channels)
        plan = Plan(steps, seconds(time_budget, steps, 900), lr, cooldown=0.6, checkpoint_every=checkpoint_every, seed=seed)
        recipe = TiltPriorRecipe(sizes, batch, crop, seed, chosen_device(device, processes), compile)
        run = Run(out, plan, recipe, processes, begin)
        _, state = run.fit("tilt prior", PriorScores(validation_states()))
        _finish_tilt_prior(run, state, recipe.config(), crop)


def _finish_tilt_prior(run: "Run[Any]", state: "State", config: dict[str, Any], crop: int) -> None:
    from blindinv.training.card import tilt_prior_card
    from blindinv.training.export import averaged
    from blindinv.training.operator_figures import tilt_samples_picture
    from blindinv.zoo.shipped import build_tilt_prior, read_weights, write_weights

    weights = run.out / "tilt.safetensors"
    write_weights(weights, averaged(run.checkpoint), config)
    prior = build_tilt_prior(*read_weights(weights))
    run.finish(weights, state, tilt_samples_picture(prior), tilt_prior_card(crop, run.parameters()))
