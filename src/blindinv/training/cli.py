"""The commands `blindinv train ...`; those of the operators' diffusion priors are in `cli_operators.py`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from blindinv.training.cli_operators import kernel_prior, tilt_prior
from blindinv.training.command import (
    Batch,
    Budget,
    Channels,
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
    Warm,
    chosen_device,
    counting_bar,
    integers,
    one_line_errors,
    pair,
    seconds,
)  # fmt: skip
from blindinv.training.kernel_refiner_cli import kernel_refiner
from blindinv.training.restorer_cli import restorer
from blindinv.training.views_cli import views

if TYPE_CHECKING:
    from torch import Tensor

    from blindinv.priors.autoencoder import PatchAutoencoder
    from blindinv.priors.kernel import KernelDenoiser
    from blindinv.training.export import PriorData
    from blindinv.training.loop import State

app = typer.Typer(name="train", help="Train the networks of the package on your own photos.", no_args_is_help=True)
app.command("kernel-prior")(kernel_prior)
app.command("tilt-prior")(tilt_prior)
app.command("kernel-refiner")(kernel_refiner)
app.command("restorer")(restorer)
app.command("views")(views)


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
    with one_line_errors():
        from blindinv.training.autoencoder import AutoencoderRecipe, AutoencoderScores, centre_crops
        from blindinv.training.loop import Plan

        plan = Plan(steps, seconds(time_budget, steps, 1800), lr, cooldown=0.7, checkpoint_every=checkpoint_every, seed=seed)
        w, d = pair("--width", width), pair("--depth", depth)
        place = chosen_device(device, processes)
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
    channels: Channels = "96,192,256",
    validation: Validation = None,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 240.0,
    warm_start: Warm = None,
) -> None:
    """Train a latent diffusion prior on the photos of DIR, for 2 hours unless --time-budget or --steps is given.

    The latents of the photos are cached first. The same command again goes on from the last checkpoint.
    Writes photos.safetensors (autoencoder and denoiser), its card, loss curve and sample pictures.
    """
    with one_line_errors():
        from blindinv.training.export import PriorData
        from blindinv.training.loop import Plan
        from blindinv.training.prior import PriorRecipe, PriorScores, check_sizes

        begin, sizes, place = time.monotonic(), integers("--channels", channels), chosen_device(device, processes)
        check_sizes(sizes, crop)
        plan = Plan(steps, seconds(time_budget, steps, 7200), lr, cooldown=0.6, checkpoint_every=checkpoint_every, seed=seed)
        source = PriorData(folder, validation, autoencoder / "checkpoint.safetensors", out, place)
        with counting_bar() as report:
            views = source.prepare(report)
        shift, scale = (tuple(v.tolist()) for v in source.statistics())
        recipe = PriorRecipe(source.cache, shift, scale, sizes, batch, crop, seed, place, compile, warm_start)
        run = Run(out, plan, recipe, processes, begin)
        _, state = run.fit("prior", PriorScores(source.encode(views)))
        _finish_prior(run, state, source, views)


@app.command("pixel-prior")
def pixel_prior(
    folder: Folder,
    out: Out = Path("runs/pixel-prior"),
    time_budget: Budget = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Annotated[int, typer.Option(metavar="N", min=16, max=256, help="Size of the training crops in pixels.")] = 128,
    lr: Rate = 1e-3,
    channels: Channels = "96,192,256",
    validation: Validation = None,
    seed: Seed = 0,
    device: Device = "auto",
    processes: Processes = 1,
    compile: Compile = False,
    checkpoint_every: Every = 240.0,
    warm_start: Warm = None,
) -> None:
    """Train a pixel-space diffusion prior on the photos of DIR, for 2 hours unless --time-budget or --steps is given.

    The same command again goes on from the last checkpoint. Writes pixels.safetensors, its card, loss curve and samples.
    """
    with one_line_errors():
        from blindinv.training.autoencoder import centre_crops
        from blindinv.training.loop import Plan
        from blindinv.training.pixel_prior import PixelPriorRecipe
        from blindinv.training.prior import PriorScores

        begin, sizes, on = time.monotonic(), integers("--channels", channels), chosen_device(device, processes)
        plan = Plan(steps, seconds(time_budget, steps, 7200), lr, cooldown=0.6, checkpoint_every=checkpoint_every, seed=seed)
        recipe = PixelPriorRecipe(folder, validation, sizes, batch, crop, seed, on, compile, warm_start)
        photos, held_out = recipe.photos()
        views = centre_crops(held_out, 16)
        run = Run(out, plan, recipe, processes, begin)
        _, state = run.fit("pixel prior", PriorScores(2 * views - 1))
        _finish_pixel_prior(run, state, views, len(photos))


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
    with one_line_errors():
        from blindinv.training.kernel_denoiser import KernelDenoiserRecipe, KernelDenoiserScores
        from blindinv.training.loop import Plan

        limit = seconds(time_budget, steps, 900)
        plan = Plan(steps, limit, lr, weight_decay=0, cooldown=0.7, checkpoint_every=checkpoint_every, seed=seed)
        recipe = KernelDenoiserRecipe(size, batch, channels, depth, seed, chosen_device(device, processes), compile)
        run = Run(out, plan, recipe, processes, time.monotonic())
        model, state = run.fit("kernel denoiser", KernelDenoiserScores(size))
        _finish_kernel_denoiser(run, model, state, size)


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


def _finish_pixel_prior(run: "Run[Any]", state: "State", views: "Tensor", count: int) -> None:
    from blindinv.training.card import folder_and_count, held_out, pixel_prior_card
    from blindinv.training.figures import prior_picture
    from blindinv.training.pixel_prior import export_pixel_prior

    weights, recipe = run.out / "pixels.safetensors", cast(Any, run.recipe)
    made = export_pixel_prior(run.checkpoint, recipe.config(), views[:: -(-len(views) // 8)], weights)
    card = pixel_prior_card(folder_and_count(recipe.folder, count), held_out(recipe.validation, views), run.parameters())
    run.finish(weights, state, prior_picture(made, views[:1]), card)


def _finish_kernel_denoiser(run: "Run[Any]", model: "KernelDenoiser", state: "State", size: int) -> None:
    from blindinv.training.card import kernel_denoiser_card
    from blindinv.training.export import averaged
    from blindinv.training.figures import kernel_picture
    from blindinv.zoo.shipped import write_weights

    weights = run.out / "kernel_denoiser.safetensors"
    write_weights(weights, averaged(run.checkpoint), model.config)
    run.finish(weights, state, kernel_picture(model, size), kernel_denoiser_card(size, run.parameters()))
