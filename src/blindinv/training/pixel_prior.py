"""Recipe of the pixel prior: a Wiener-preconditioned UNet of 4x4 patches, on crops of photos."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindinv.priors.latent import LEVELS, measure_spectrum
from blindinv.priors.pixel import PixelPrior
from blindinv.priors.wiener import WienerDenoiser
from blindinv.schedule import Schedule
from blindinv.training.autoencoder import load_split
from blindinv.training.data import crop_batch
from blindinv.training.export import averaged
from blindinv.training.prior import PriorLoss, check_channels, fit_gaussian
from blindinv.training.warm import warm_start
from blindinv.zoo.shipped import PIXEL_PRIOR, build_pixel_prior, write_weights
from blindinv.zoo.spectra import image_spectrum
from blindinv.zoo.unet import patch_unet

FACTOR, GRID = 4, 256
FIT_CROPS = 400

_split_once = lru_cache(maxsize=1)(load_split)


class PhotoCrops:
    """Random crops of photos, in [-1, 1]: position, scale, mirror and transposition are random.

    Args:
        photos: uint8 (3, H, W).
        scales: least and greatest enlargement (log-uniform).
    """

    def __init__(self, photos: list[Tensor], scales: tuple[float, float] = (0.6, 1.0)) -> None:
        self.photos, self.scales = photos, scales

    def crops(self, batch: int, size: int, generator: torch.Generator) -> Tensor:
        """(batch, 3, size, size)."""
        return crop_batch(self.photos, batch, size, generator, self.scales)


@dataclass(frozen=True)
class PixelPriorRecipe:
    """What is trained on what, by default.

    Args:
        folder: of photos.
        validation: folder of other photos, or None.
        channels: of the UNet at each resolution, multiples of 16; the first is at a quarter of the photo's.
        batch: crops per step.
        crop: their size in pixels.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
        warm_start: name or file of a prior to take the UNet's first weights from, where their shapes agree.
    """

    folder: Path
    validation: Path | None = None
    channels: tuple[int, ...] = (96, 192, 256)
    batch: int = 8
    crop: int = 128
    seed: int = 0
    device: str = "cpu"
    compile: bool = False
    warm_start: str | None = None

    def __post_init__(self) -> None:
        check_channels(self.channels)
        multiple = FACTOR * 2 ** (len(self.channels) - 1)
        if self.crop % multiple:
            raise ValueError(f"--crop {self.crop}: give a multiple of {multiple}")

    def photos(self) -> tuple[list[Tensor], list[Tensor]]:
        """Photos to train on and to validate on, read once.

        Raises:
            ValueError: as `load_split`, or the photos to train on are all too small.
        """
        photos, held_out = _split_once(self.folder, self.validation)
        large = [p for p in photos if min(p.shape[1:]) >= GRID]
        if not large:
            raise ValueError(f"{self.folder}: a prior needs training photos of at least {GRID} pixels on their short side")
        return large, held_out

    def config(self) -> dict[str, Any]:
        """What `build_pixel_prior` needs besides the tensors."""
        unet = {"channels": list(self.channels), "factor": FACTOR}
        return {"kind": PIXEL_PRIOR, "unet": unet, "grid": GRID, "levels": list(LEVELS)}

    def setup(self) -> tuple[WienerDenoiser, PriorLoss]:
        """The denoiser, a Wiener filter at first, and its loss."""
        source = PhotoCrops(self.photos()[0])
        torch.manual_seed(self.seed)
        network: Any = patch_unet(6, 3, self.channels, FACTOR)
        if self.warm_start is not None:
            warm_start(network.network, self.warm_start)
        model = WienerDenoiser(network, 3, Schedule.linear().abar, GRID)
        fit_gaussian(model, PhotoCrops(source.photos, (1.0, 1.0)), FIT_CROPS)
        network.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()
        return model.to(self.device), PriorLoss(source, self.batch, self.crop, self.device)


def export_pixel_prior(checkpoint: Path, config: dict[str, Any], photos: Tensor, out: Path) -> PixelPrior:
    """Write the weights file of a pixel prior from its checkpoint.

    Args:
        checkpoint: of the training.
        config: of the recipe.
        photos: (N, 3, H, W) in [0, 1], not trained on, to measure the spectra on.
        out: weights file to write.
    """
    tensors = {f"denoiser.{k}": v for k, v in averaged(checkpoint).items()}
    tensors |= {"error_power": torch.ones(1, 64), "image_power": image_spectrum(photos)[None]}
    tensors["error_power"] = measure_spectrum(build_pixel_prior(tensors, config), photos).power
    write_weights(out, tensors, config)
    return build_pixel_prior(tensors, config)
