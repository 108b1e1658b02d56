"""Recipe of the autoencoder: sharp reconstructions from latents that carry noise."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.training.data import crop_batch, load_photos

LATENT_NOISE = 0.1
GRADIENT_WEIGHT = 0.5
LATENT_PENALTY = 1e-4
SIDES = (256, 128)


def check_folder(path: Path) -> Path:
    """The path of a folder.

    Raises:
        ValueError: it is none.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; give a folder of photos")
    return path


def load_split(folder: Path, validation: Path | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Photos to train on and photos to validate on, uint8 (3, H, W).

    Args:
        folder: of photos.
        validation: another folder; None keeps every tenth photo of the first one, by name, out of training.

    Raises:
        ValueError: not a folder, no photos in it, or just one and no other folder.
    """
    if validation is not None:
        check_folder(validation)
    photos = load_photos(check_folder(folder))
    if validation is not None:
        return photos, load_photos(validation)
    if len(photos) < 2:
        raise ValueError(f"{folder} has only one photo of at least 128 pixels; give it more, or a folder with --validation")
    return [p for i, p in enumerate(photos) if i % 10], photos[::10]


def centre_crops(photos: list[Tensor], count: int) -> Tensor:
    """Middles of up to `count` photos, evenly spaced in the list: (N, 3, S, S) in [0, 1]; S is 256, or 128 if all are small."""
    side = next(s for s in SIDES if any(min(p.shape[1:]) >= s for p in photos))
    large = [p for p in photos if min(p.shape[1:]) >= side]
    corners = [(p, (p.shape[1] - side) // 2, (p.shape[2] - side) // 2) for p in large[:: -(-len(large) // count)]]
    return torch.stack([p[:, y : y + side, x : x + side] for p, y, x in corners]).float() / 255


_split_once = lru_cache(maxsize=1)(load_split)


@dataclass(frozen=True)
class AutoencoderRecipe:
    """What is trained on what, by default.

    Args:
        folder: of photos.
        validation: folder of other photos, or None.
        batch: crops per step.
        crop: their size in pixels, a multiple of 4.
        latent_channels, width, depth: of `PatchAutoencoder`.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    folder: Path
    validation: Path | None = None
    batch: int = 8
    crop: int = 128
    latent_channels: int = 8
    width: tuple[int, int] = (48, 128)
    depth: tuple[int, int] = (1, 2)
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.crop % PatchAutoencoder.factor:
            raise ValueError(f"--crop {self.crop}: give a multiple of {PatchAutoencoder.factor}")

    def photos(self) -> tuple[list[Tensor], list[Tensor]]:
        """Photos to train on and to validate on, read once."""
        return _split_once(self.folder, self.validation)

    def setup(self) -> tuple[PatchAutoencoder, "AutoencoderLoss"]:
        """The autoencoder, a principal component analysis at first, and its loss."""
        photos, _ = self.photos()
        torch.manual_seed(self.seed)
        model = PatchAutoencoder(self.latent_channels, self.width, self.depth)
        model.init_pca(crop_batch(photos, 300, 96, torch.Generator().manual_seed(5)))
        if self.compile:
            for part in (model.encoder_half, model.encoder_quarter, model.decoder_quarter, model.decoder_half):
                part.compile()
        model = model.to(self.device).to(memory_format=torch.channels_last)
        return model, AutoencoderLoss(photos, self.batch, self.crop, self.device)


class AutoencoderLoss:
    """L1 of pixels and of their gradients, decoded from z + 0.1 std(z) noise; a small penalty keeps z near unit scale.

    The noise makes the decoder smooth in z, which guidance through the decoder needs, and spreads what the
    latents say over their whole range without a KL term.
    """

    def __init__(self, photos: list[Tensor], batch: int = 8, size: int = 128, device: str = "cpu") -> None:
        self.photos, self.batch, self.size, self.device = photos, batch, size, device

    def __call__(self, model: PatchAutoencoder, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        return round_trip(model, crop_batch(self.photos, self.batch, self.size, generator).to(self.device), generator)


def round_trip(model: PatchAutoencoder, x: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of an autoencoder on pictures (B, 3, H, W) in [-1, 1]."""
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16):
        z = model.encode(x)
        std = z.detach().float().std((0, 2, 3), keepdim=True)
        noise = torch.randn(z.shape, generator=generator).to(z.device)
        error = model.decode(z + LATENT_NOISE * std * noise).float() - x
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + GRADIENT_WEIGHT * edges + LATENT_PENALTY * z.float().square().mean()


class AutoencoderScores:
    """PSNR in dB of the round trip of validation photos, clean and with 0.1 std of noise on the latents."""

    def __init__(self, photos: Tensor) -> None:
        self.photos = photos

    @torch.no_grad()
    def __call__(self, model: PatchAutoencoder) -> dict[str, float]:
        """`psnr` and `psnr_noisy`."""
        errors: dict[str, list[float]] = {"psnr": [], "psnr_noisy": []}
        generator, device = torch.Generator().manual_seed(0), model.linear_encoder.weight.device
        for photos in self.photos.split(8):
            x = photos.to(device).contiguous(memory_format=torch.channels_last)
            z = model.encode(x)
            noise = torch.randn(z.shape, generator=generator).to(device) * z.std((0, 2, 3), keepdim=True)
            for name, code in (("psnr", z), ("psnr_noisy", z + LATENT_NOISE * noise)):
                mse = ((model.decode(code).clamp(-1, 1) - x) / 2).square().mean((1, 2, 3))
                errors[name] += (-10 * mse.log10()).tolist()
        return {name: sum(values) / len(values) for name, values in errors.items()}
