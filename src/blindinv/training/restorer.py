"""Recipe of the supervised restorer: crops of photos, blurred by random motion kernels, with noise."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from blindinv.baselines.restorer import FACTOR, Restorer
from blindinv.kernels.motion import motion_kernels
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.protocols import generators, randn
from blindinv.training.autoencoder import load_split
from blindinv.training.data import crop_batch

KERNEL = 64
INTENSITY = (0.2, 1.0)
SIGMA = (0.0, 0.04)
SOFT = 1e-3  # of the Charbonnier loss
_split_once = lru_cache(maxsize=1)(load_split)


def blur(x: Tensor, k: Tensor, circular: bool, sigma: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs (y, x) from photos (B, 3, S, S): periodic at full size, or the middle S - n pixels with free borders."""
    if circular:
        y = CircularConvolution()(x, k)
    else:
        n, side = k.shape[-1], x.shape[-1] - k.shape[-1]
        y = FreeConvolution()(x, k, (side, side))
        x = x[..., n // 2 : n // 2 + side, n // 2 : n // 2 + side]
    return y + sigma * torch.randn(y.shape, generator=generator), x


class RestorerLoss:
    """Charbonnier: the mean of sqrt(error^2 + 1e-6).

    Args:
        photos: uint8 (3, H, W).
        batch: pairs per step.
        size: of the pairs, pixels.
    """

    def __init__(self, photos: list[Tensor], batch: int = 8, size: int = 192, device: str = "cpu") -> None:
        self.photos, self.batch, self.size, self.device = photos, batch, size, device

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Blurred and sharp crops (batch, 3, size, size), and the noise level (batch, 1, 1, 1); every other batch periodic."""
        circular = bool(torch.rand((), generator=generator) < 0.5)
        x = crop_batch(self.photos, self.batch, self.size + (0 if circular else KERNEL), generator) / 2 + 0.5
        u, v = torch.rand(2, self.batch, generator=generator)
        k = motion_kernels(self.batch, KERNEL, INTENSITY[0] + (INTENSITY[1] - INTENSITY[0]) * u, generator)
        sigma = (SIGMA[0] + (SIGMA[1] - SIGMA[0]) * v).view(-1, 1, 1, 1)
        y, x = blur(x, k, circular, sigma, generator)
        return y, x, sigma

    def __call__(self, model: Restorer, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        y, x, sigma = (v.to(self.device) for v in self.draw(generator))
        with torch.autocast(y.device.type, torch.bfloat16):
            error = model(y.contiguous(memory_format=torch.channels_last), sigma).float() - x
        return (error.square() + SOFT**2).sqrt().mean()


class RestorerScores:
    """PSNR in dB of validation photos, blurred with one kernel each of intensity 0.5, noise 0.02, periodic borders."""

    def __init__(self, photos: Tensor) -> None:
        k = motion_kernels(len(photos), KERNEL, 0.5, torch.Generator().manual_seed(0))
        noise = randn(tuple(photos.shape), generators(1, len(photos)))
        self.x, self.y = photos, CircularConvolution()(photos, k) + 0.02 * noise

    @torch.no_grad()
    def restored(self, model: Restorer, count: int) -> Tensor:
        """The first so many photos, restored, on the CPU."""
        device = next(model.parameters()).device
        return torch.cat([model(part.to(device), 0.02).cpu() for part in self.y[:count].split(4)])

    def __call__(self, model: Restorer) -> dict[str, float]:
        """`psnr` of the restored and `psnr_blurred` of the blurred photos."""
        made, scores = self.restored(model, len(self.x)), {}
        for name, image in (("psnr", made), ("psnr_blurred", self.y)):
            mse = (image.clamp(0, 1) - self.x).square().mean((1, 2, 3))
            scores[name] = float((-10 * mse.log10()).mean())
        return scores


@dataclass(frozen=True)
class RestorerRecipe:
    """What is trained on what, by default.

    Args:
        folder: of photos.
        validation: folder of other photos, or None.
        batch: pairs per step.
        crop: their size in pixels.
        channels, blocks: of `Restorer`.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    folder: Path
    validation: Path | None = None
    batch: int = 8
    crop: int = 192
    channels: tuple[int, ...] = (64, 128, 256)
    blocks: int = 2
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def __post_init__(self) -> None:
        multiple = FACTOR * 2 ** (len(self.channels) - 1)
        if self.crop % multiple or self.crop < KERNEL:
            raise ValueError(f"--crop {self.crop}: give a multiple of {multiple}, {KERNEL} or more")

    def photos(self) -> tuple[list[Tensor], list[Tensor]]:
        """Photos to train on and to validate on, read once."""
        return _split_once(self.folder, self.validation)

    def setup(self) -> tuple[Restorer, RestorerLoss]:
        """The network, which at first returns its input, and its loss."""
        photos, _ = self.photos()
        torch.manual_seed(self.seed)
        model = Restorer(self.channels, self.blocks).to(self.device).to(memory_format=torch.channels_last)
        if self.compile:
            model.compile()
        return model, RestorerLoss(photos, self.batch, self.crop, self.device)
