"""From checkpoints to weights that ship: assemble, measure the spectra, write."""

import hashlib
import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.latent import LEVELS, LatentPrior, measure_spectrum
from blindinv.training.loop import write_atomically
from blindinv.training.prior import Latents
from blindinv.zoo.shipped import build_prior, write_weights
from blindinv.zoo.spectra import image_spectrum


def averaged(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a training checkpoint."""
    return {k.removeprefix("ema."): v for k, v in load_file(checkpoint).items() if k.startswith("ema.")}


def load_autoencoder(checkpoint: Path) -> PatchAutoencoder:
    """The averaged autoencoder of a training checkpoint; its sizes are read off the tensors.

    Raises:
        ValueError: there is no such file, or it is the checkpoint of something else.
    """
    if not checkpoint.is_file():
        raise ValueError(f"there is no {checkpoint}; run `blindinv train autoencoder` first and give its --out")
    weights = averaged(checkpoint)
    try:
        model = PatchAutoencoder(
            len(weights["linear_encoder.weight"]),
            (len(weights["encoder_in.weight"]), len(weights["encoder_down.weight"])),
            (_blocks(weights, "encoder_half"), _blocks(weights, "encoder_quarter")),
        )
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{checkpoint} is not the checkpoint of an autoencoder") from error
    return model.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def _blocks(weights: dict[str, Tensor], name: str) -> int:
    return len({m[1] for k in weights if (m := re.match(rf"{name}\.(\d+)\.", k))})


def digest(model: PatchAutoencoder) -> str:
    """SHA-256 of the weights of a model."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def latent_statistics(cache: Path, autoencoder: PatchAutoencoder) -> tuple[Tensor, Tensor]:
    """Shift and scale of cached latents, (C,) each, kept in `statistics.safetensors` beside the cache.

    Raises:
        ValueError: the latents are those of another autoencoder.
    """
    path, owner = cache.with_name("statistics.safetensors"), digest(autoencoder)
    if not path.exists():
        latents = Latents(cache)
        tensors = {"shift": latents.shift, "scale": latents.scale}
        write_atomically(path, lambda p: save_file(tensors, p, metadata={"autoencoder": owner}))
    with safe_open(path, "pt") as f:
        shift, scale, of = f.get_tensor("shift"), f.get_tensor("scale"), (f.metadata() or {}).get("autoencoder")
    if of != owner or len(shift) != autoencoder.config["latent_channels"]:
        raise ValueError(f"{cache} holds latents of another autoencoder; choose another --out, or delete that folder")
    return shift, scale


def export_prior(autoencoder: Path, prior: Path, configs: dict, shift: Tensor, scale: Tensor, photos: Tensor, out: Path) -> LatentPrior:
    """Write one weights file from the checkpoints of an autoencoder and of a latent prior.

    Args:
        autoencoder: checkpoint file.
        prior: checkpoint file.
        configs: `autoencoder` and `unet` sizes.
        shift, scale: latent statistics, (C,).
        photos: (N, 3, H, W) in [0, 1], not trained on, to measure the spectra on.
        out: weights file to write.
    """
    tensors = {f"autoencoder.{k}": v for k, v in averaged(autoencoder).items()}
    tensors |= {f"denoiser.{k}": v for k, v in averaged(prior).items()}
    bins = torch.ones(1, 64)
    tensors |= {"shift": shift, "scale": scale, "error_power": bins, "image_power": image_spectrum(photos)[None]}
    config = {**configs, "levels": list(LEVELS)}
    tensors["error_power"] = measure_spectrum(build_prior(tensors, config), photos).power
    write_weights(out, tensors, config)
    return build_prior(tensors, config)


__all__ = ["PatchAutoencoder", "averaged", "digest", "export_prior", "image_spectrum", "latent_statistics", "load_autoencoder"]
