"""From checkpoints to weights that ship: assemble, measure the spectra, write."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from blindinv.operators.fourier import Spectrum, fft
from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.latent import LEVELS, LatentPrior, measure_spectrum
from blindinv.zoo.shipped import build_prior, write_weights


def averaged(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a training checkpoint."""
    return {k.removeprefix("ema."): v for k, v in load_file(checkpoint).items() if k.startswith("ema.")}


@torch.no_grad()
def image_spectrum(photos: Tensor) -> Tensor:
    """(bins,) radial power of photos (N, 3, H, W) in [0, 1] around their mean colour."""
    centred = photos - photos.mean((-2, -1), keepdim=True)
    return Spectrum.rings(fft(centred).abs().square().mean((0, 1)), (photos.shape[-2], photos.shape[-1]))


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


__all__ = ["PatchAutoencoder", "averaged", "export_prior", "image_spectrum"]
