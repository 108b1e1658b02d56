"""From checkpoints to weights that ship: assemble, measure the spectra, write."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from blindinv.hashing import tensor_hash
from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.latent import LEVELS, LatentPrior, measure_spectrum
from blindinv.priors.wiener import GRID
from blindinv.training.autoencoder import centre_crops, check_folder, load_split
from blindinv.training.data import load_photos
from blindinv.training.loop import write_atomically
from blindinv.training.prior import Latents, cache_latents
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


@dataclass(frozen=True)
class PriorData:
    """What a latent prior is trained on: the latents of a folder of photos, cached.

    Args:
        folder: of photos.
        validation: folder of other photos, or None to keep a tenth of the first out.
        autoencoder: checkpoint.
        out: folder of the cache.
        device: to encode on.
    """

    folder: Path
    validation: Path | None
    autoencoder: Path
    out: Path
    device: str = "cpu"

    @property
    def cache(self) -> Path:
        """The file of latents."""
        return self.out / "latents.safetensors"

    def encoder(self) -> PatchAutoencoder:
        """The trained autoencoder."""
        return load_autoencoder(self.autoencoder).to(self.device)

    def prepare(self, report: Callable[[int, int], None] = lambda done, total: None) -> Tensor:
        """Cache the latents if they are not, and return validation photos, (N, 3, S, S) in [0, 1].

        Args:
            report: called with the number of photos done and of all.

        Raises:
            ValueError: a folder without photos, or without any that is large enough.
        """
        encoder = self.encoder()
        check_folder(self.folder)
        if self.cache.exists() and self.validation is not None:
            return centre_crops(load_photos(check_folder(self.validation)), 16)
        photos, held_out = load_split(self.folder, self.validation)
        if not self.cache.exists():
            self._encode_all(encoder, photos, report)
        return centre_crops(held_out, 16)

    def _encode_all(self, encoder: PatchAutoencoder, photos: list[Tensor], report: Callable[[int, int], None]) -> None:
        side = encoder.factor * GRID
        if all(min(p.shape[1:]) < side for p in photos):
            raise ValueError(f"{self.folder}: a prior needs training photos of at least {side} pixels on their short side")
        self.out.mkdir(parents=True, exist_ok=True)
        self.cache.with_name("statistics.safetensors").unlink(missing_ok=True)
        encode: Callable[[Tensor], Tensor] = lambda x: encoder.encode(x.to(self.device)).cpu()  # noqa: E731
        cache_latents(encode, photos, self.cache, lambda done: report(done, len(photos)))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Shift and scale of the cached latents, (C,) each, kept in `statistics.safetensors` beside them.

        Raises:
            ValueError: the latents are those of another autoencoder.
        """
        path, encoder = self.cache.with_name("statistics.safetensors"), self.encoder()
        if not path.exists():
            latents = Latents(self.cache)
            tensors, meta = {"shift": latents.shift, "scale": latents.scale}, {"autoencoder": tensor_hash(encoder)}
            write_atomically(path, lambda p: save_file(tensors, p, metadata=meta))
        with safe_open(path, "pt") as f:
            shift, scale, owner = f.get_tensor("shift"), f.get_tensor("scale"), (f.metadata() or {}).get("autoencoder")
        if owner != tensor_hash(encoder) or len(shift) != encoder.config["latent_channels"]:
            raise ValueError(f"{self.cache} holds latents of another autoencoder; choose another --out, or delete that file")
        return shift, scale

    @torch.no_grad()
    def encode(self, photos: Tensor) -> Tensor:
        """Normalised latents (N, C, H/4, W/4) of photos (N, 3, H, W) in [0, 1]."""
        shift, scale = self.statistics()
        x = (2 * photos - 1).to(self.device).contiguous(memory_format=torch.channels_last)
        return (self.encoder().encode(x).cpu() - shift.view(1, -1, 1, 1)) / scale.view(1, -1, 1, 1)


def cached_photos(cache: Path) -> int:
    """How many photos the latents of a cache come from."""
    with safe_open(cache, "pt") as f:
        return len({k.split(".")[0] for k in f.keys()})  # noqa: SIM118


def export_prior(
    autoencoder: Path, prior: Path, configs: dict, shift: Tensor, scale: Tensor, photos: Tensor, out: Path
) -> LatentPrior:
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


__all__ = [
    "PatchAutoencoder",
    "PriorData",
    "averaged",
    "cached_photos",
    "export_prior",
    "image_spectrum",
    "load_autoencoder",
]
