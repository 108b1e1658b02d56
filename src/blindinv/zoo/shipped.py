"""Weights that come with the package: one safetensors file each, its configuration in the file's own metadata."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from blindinv.operators.fourier import Spectrum
from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.kernel import KernelDenoiser, KernelRefiner
from blindinv.priors.kernel_diffusion import KernelDiffusion, PixelwiseDenoiser
from blindinv.priors.latent import LatentPrior
from blindinv.priors.lifted import LiftedViews
from blindinv.priors.pixel import PixelPrior
from blindinv.priors.tilt import TiltDiffusion
from blindinv.priors.wiener import WienerDenoiser
from blindinv.schedule import Schedule
from blindinv.training.loop import write_atomically

WEIGHTS = Path(__file__).parent.parent / "weights"
SHIPPED = ("photos", "pixels")
KERNEL_PRIOR, TILT_PRIOR, PIXEL_PRIOR, LATENT_PRIOR = "kernel prior", "tilt prior", "pixel prior", "latent prior"
VIEW_PRIOR, KERNEL_REFINER = "view prior", "kernel refiner"


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors (as float32) and configuration of a weights file.

    Raises:
        ValueError: the file is not one of ours.
    """
    if not is_ours(path):
        raise ValueError(f"{path} is not a blindinv weights file")
    with safe_open(path, "pt") as f:
        meta = f.metadata()
        return {k: f.get_tensor(k).float() for k in f.keys()}, json.loads(meta["blindinv"])  # noqa: SIM118


def write_weights(path: Path, tensors: dict[str, Tensor], config: dict) -> None:
    """One safetensors file; floating point tensors become float16, spectra stay float32."""
    keep = ("spectrum", "power")
    small = {k: (v if any(s in k for s in keep) else v.half()).detach().contiguous().clone() for k, v in tensors.items()}
    write_atomically(path, lambda p: save_file(small, p, metadata={"blindinv": json.dumps(config, sort_keys=True)}))


def kind(config: dict) -> str:
    """What a weights file holds, in words: "kernel prior", "latent prior", ..."""
    if "kind" not in config and "autoencoder" in config:
        return LATENT_PRIOR
    return config.get("kind", "autoencoder" if "latent_channels" in config else "kernel denoiser")


def read_kind(path: Path, wanted: str) -> tuple[dict[str, Tensor], dict]:
    """`read_weights` of a file that must hold what is wanted.

    Raises:
        ValueError: it holds something else, or is not one of ours.
    """
    tensors, config = read_weights(path)
    if kind(config) != wanted:
        raise ValueError(f"{path} is a {kind(config)}, not a {wanted}")
    return tensors, config


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def build_prior(tensors: dict[str, Tensor], config: dict) -> LatentPrior:
    """A latent prior from the contents of a weights file."""
    from blindinv.zoo.unet import convolutional_unet

    autoencoder = PatchAutoencoder(**config["autoencoder"])
    autoencoder.load_state_dict(_part(tensors, "autoencoder."))
    channels = autoencoder.config["latent_channels"]
    schedule = Schedule.scaled_linear()
    denoiser = WienerDenoiser(convolutional_unet(2 * channels, channels, **config["unet"]), channels, schedule.abar)
    denoiser.load_state_dict(_part(tensors, "denoiser."))
    prior = LatentPrior(
        autoencoder, denoiser, schedule, channels, autoencoder.factor, tensors["shift"], tensors["scale"],
        Spectrum(config["levels"], tensors["error_power"]),
        Spectrum([0], tensors["image_power"]),
    )  # fmt: skip
    for net in (autoencoder, denoiser.network):
        net.to(memory_format=torch.channels_last)
    return prior.requires_grad_(False).eval()


def build_tilt_prior(tensors: dict[str, Tensor], config: dict) -> TiltDiffusion:
    """A diffusion prior of tilt maps from the contents of a weights file."""
    from blindinv.zoo.unet import patch_unet

    schedule = Schedule.linear()
    denoiser = WienerDenoiser(patch_unet(4, 2, **config["unet"]), 2, schedule.abar)
    denoiser.load_state_dict(tensors)
    denoiser.network.to(memory_format=torch.channels_last)
    return TiltDiffusion(denoiser, schedule, config["scale"]).requires_grad_(False).eval()


def build_pixel_prior(tensors: dict[str, Tensor], config: dict) -> PixelPrior:
    """A pixel-space prior of images from the contents of a weights file."""
    from blindinv.zoo.unet import patch_unet

    schedule = Schedule.linear()
    denoiser = WienerDenoiser(patch_unet(6, 3, **config["unet"]), 3, schedule.abar, config["grid"])
    denoiser.load_state_dict(_part(tensors, "denoiser."))
    denoiser.network.to(memory_format=torch.channels_last)
    error, image = Spectrum(config["levels"], tensors["error_power"]), Spectrum([0], tensors["image_power"])
    return PixelPrior(denoiser, schedule, 3, error, image).requires_grad_(False).eval()


def build_view_prior(tensors: dict[str, Tensor], config: dict) -> LiftedViews:
    """A view prior from the contents of a weights file."""
    from blindinv.zoo.unet import lifted_views

    model = lifted_views(PatchAutoencoder(**config["autoencoder"]), **config["network"])
    model.load_state_dict(tensors)
    return model.requires_grad_(False).eval()


def is_ours(path: Path) -> bool:
    """Whether a file bears our mark; False too for what is no safetensors file."""
    try:
        with safe_open(path, "pt") as f:
            return "blindinv" in (f.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_own(path: Path, prompt: str = "") -> LatentPrior | PixelPrior:
    """A prior of images from our weights file.

    Raises:
        ValueError: it holds something else, or there is a prompt.
    """
    tensors, config = read_weights(path)
    if prompt:
        raise ValueError(f"{path} is a {kind(config)}, which takes no text: leave the prompt out")
    if kind(config) == LATENT_PRIOR:
        return build_prior(tensors, config)
    if kind(config) == PIXEL_PRIOR:
        return build_pixel_prior(tensors, config)
    raise ValueError(f"{path} is a {kind(config)}, not a prior of images")


def build_kernel_prior(tensors: dict[str, Tensor], config: dict) -> KernelDiffusion:
    """A diffusion prior of kernels from the contents of a weights file."""
    from blindinv.zoo.unet import patch_unet

    schedule, size = Schedule.linear(), config["size"]
    denoiser = PixelwiseDenoiser(patch_unet(2, 2, **config["unet"]), size, schedule.abar)
    denoiser.load_state_dict(tensors)
    denoiser.network.to(memory_format=torch.channels_last)
    return KernelDiffusion(denoiser, schedule, size).requires_grad_(False).eval()


def build_kernel_refiner(tensors: dict[str, Tensor], config: dict) -> KernelRefiner:
    """A kernel refiner from the contents of a weights file."""
    model = KernelRefiner(config["channels"])
    model.load_state_dict(tensors)
    return model.to(memory_format=torch.channels_last).requires_grad_(False).eval()


@lru_cache(maxsize=2)
def load_shipped(name: str = "photos") -> LatentPrior | PixelPrior:
    """A shipped prior of photos, in latents or in pixels, on the CPU.

    Raises:
        ValueError: there is no such prior.
    """
    if name not in SHIPPED:
        raise ValueError(f"no shipped prior is called {name!r}; there is {', '.join(SHIPPED)}")
    return load_own(WEIGHTS / f"{name}.safetensors")


@lru_cache(maxsize=2)
def load_kernel_denoiser(dtype: torch.dtype | None = None) -> KernelDenoiser:
    """The shipped plug-and-play denoiser of blur kernels, on the CPU; for `dtype` see `load_prior`."""
    tensors, config = read_weights(WEIGHTS / "kernel_denoiser.safetensors")
    model = KernelDenoiser(**config)
    model.load_state_dict(tensors)
    model.dtype = dtype
    return model.requires_grad_(False).eval()


def weights_hash() -> dict[str, str]:
    """SHA-256 of every shipped weights file, by name."""
    return {p.stem: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(WEIGHTS.glob("*.safetensors"))}
