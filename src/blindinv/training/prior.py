"""Recipe of the latent prior: a Wiener-preconditioned UNet on cached latents."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from blindinv.priors.wiener import GRID, WienerDenoiser
from blindinv.schedule import Schedule
from blindinv.training.data import randint
from blindinv.training.levels import LEVELS, stratified
from blindinv.training.loop import write_atomically
from blindinv.training.warm import warm_start
from blindinv.zoo.unet import convolutional_unet

SCALES = (1.0, 0.8, 0.65)


@torch.no_grad()
def cache_latents(
    encode: Callable[[Tensor], Tensor], photos: list[Tensor], path: Path, report: Callable[[int], None] = lambda done: None
) -> None:
    """Encode every photo at three scales, plain, mirrored and transposed, into one float16 safetensors file.

    Args:
        encode: images (1, 3, H, W) in [-1, 1] -> (1, C, H/4, W/4), on the CPU.
        photos: uint8 (3, H, W).
        path: of the file.
        report: called before each photo with the number of those done.
    """
    latents: dict[str, Tensor] = {}
    for i, photo in enumerate(photos):
        report(i)
        for scale in SCALES:
            x = photo[None].float() / 127.5 - 1
            x = F.interpolate(x, scale_factor=scale, mode="bicubic", antialias=True).clamp(-1, 1) if scale < 1 else x
            x = x[..., : x.shape[-2] // 4 * 4, : x.shape[-1] // 4 * 4]
            if min(x.shape[-2:]) < 128:
                continue
            for name, variant in (("p", x), ("m", x.flip(-1)), ("t", x.transpose(-1, -2))):
                z = encode(variant.contiguous(memory_format=torch.channels_last))
                latents[f"{i}.{scale}.{name}"] = z[0].half().contiguous()
    write_atomically(path, lambda p: save_file(latents, p))


class Latents:
    """Random access to cached latents without loading the file."""

    def __init__(self, path: Path, shift: Tensor | None = None, scale: Tensor | None = None) -> None:
        with safe_open(path, "pt") as f:
            self.z = [f.get_tensor(k) for k in sorted(f.keys())]
        if shift is None or scale is None:
            sample = torch.cat([z.flatten(1).float() for z in self.z[:: max(1, len(self.z) // 500)]], 1)
            shift, scale = sample.mean(1), sample.std(1)
        self.shift, self.scale = shift, scale
        self.side = max(min(z.shape[1:]) for z in self.z)

    def crops(self, batch: int, size: int, generator: torch.Generator) -> Tensor:
        """(batch, C, size, size), zero mean and unit variance per channel.

        Raises:
            ValueError: no photo was large enough.
        """
        if self.side < size:
            raise ValueError(f"crops of {size}x{size} latents need a photo of at least {4 * size} pixels on its short side")
        out = torch.empty(batch, len(self.shift), size, size)
        for i in range(batch):
            z = self.z[randint(len(self.z), generator)]
            while min(z.shape[1:]) < size:
                z = self.z[randint(len(self.z), generator)]
            y, x = randint(z.shape[1] - size + 1, generator), randint(z.shape[2] - size + 1, generator)
            out[i] = z[:, y : y + size, x : x + size].float()
        return (out - self.shift.view(1, -1, 1, 1)) / self.scale.view(1, -1, 1, 1)


class Crops(Protocol):
    """Where training crops come from."""

    def crops(self, batch: int, size: int, generator: torch.Generator) -> Tensor:
        """(batch, C, size, size)."""
        ...


def fit_gaussian(model: WienerDenoiser, source: Crops, crops: int = 2000) -> None:
    """Set the Wiener part of the denoiser from crops of the size of its grid."""
    model.gaussian.fit(source.crops(crops, model.gaussian.grid, torch.Generator().manual_seed(1)))


def certainty(abar: Tensor, c: Tensor) -> Tensor:
    """The weight of a timestep, c sqrt(abar / (1 - abar)) in (0, 1): the square root of DDPM's, in units of what a filter leaves.

    c is the filter's error and sqrt((1 - abar) / abar) that of an observation alone. At high noise a few low frequencies make up
    the whole error: a draw of it says as little as a few numbers would, and with equal weights its noise drowns what the
    gradients of low noise have to say.
    """
    return c * (abar / (1 - abar)).sqrt()


class PriorLoss:
    """Mean squared error of the correction in units of what the Wiener filter leaves, weighted by `certainty`."""

    def __init__(self, source: Crops, batch: int = 8, size: int = 32, device: str = "cpu") -> None:
        self.source, self.batch, self.size, self.device = source, batch, size, device

    def __call__(self, model: WienerDenoiser, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        z = self.source.crops(self.batch, self.size, generator)
        t, noise = stratified(self.batch, len(model.abar), generator), torch.randn(z.shape, generator=generator)
        z, t, noise = (v.to(self.device) for v in (z, t, noise))
        a = model.abar[t].view(-1, 1, 1, 1)
        with torch.autocast(z.device.type, torch.bfloat16):
            w, c, f = model.correction(a.sqrt() * z + (1 - a).sqrt() * noise, t)
        return (certainty(a, c) * (f.float() - (z - w) / c).square()).mean()


class PriorScores:
    """Mean squared error of z_0 over that of the Wiener filter alone, at eight noise levels (below 1 is better)."""

    def __init__(self, z: Tensor) -> None:
        self.z = z

    @torch.no_grad()
    def __call__(self, model: WienerDenoiser) -> dict[str, float]:
        """`ratio_t` for each level t."""
        generator, scores, z = torch.Generator().manual_seed(0), {}, self.z.to(model.abar.device)
        for level in LEVELS:
            a = model.abar[level]
            z_t = a.sqrt() * z + (1 - a).sqrt() * torch.randn(z.shape, generator=generator).to(z.device)
            t = torch.full((len(z),), level, device=z.device)
            w, _ = model.gaussian(z_t, model.abar[t])
            scores[f"ratio_{level}"] = float((model(z_t, t) - z).square().mean() / (w - z).square().mean())
        return scores


@dataclass(frozen=True)
class PriorRecipe:
    """What is trained on what, by default.

    Args:
        cache: file of `cache_latents`.
        shift: per channel of the latents, subtracted first.
        scale: per channel of the latents, divided by next.
        channels: of the UNet at each resolution, multiples of 16.
        batch: crops per step.
        crop: their size in latents.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
        warm_start: name or file of a prior to take the UNet's first weights from, where their shapes agree.
    """

    cache: Path
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    channels: tuple[int, ...] = (96, 192, 256)
    batch: int = 8
    crop: int = 32
    seed: int = 0
    device: str = "cpu"
    compile: bool = False
    warm_start: str | None = None

    def setup(self) -> tuple[WienerDenoiser, PriorLoss]:
        """The denoiser, a Wiener filter at first, and its loss."""
        check_sizes(self.channels, self.crop)
        latents, c = Latents(self.cache, torch.tensor(self.shift), torch.tensor(self.scale)), len(self.shift)
        torch.manual_seed(self.seed)
        network: Any = convolutional_unet(2 * c, c, self.channels)
        if self.warm_start is not None:
            warm_start(network, self.warm_start)
        model = WienerDenoiser(network, c, Schedule.scaled_linear().abar)
        fit_gaussian(model, latents)
        model.network.to(memory_format=torch.channels_last)
        if self.compile:
            model.network.compile()
        return model.to(self.device), PriorLoss(latents, self.batch, self.crop, self.device)


def check_channels(channels: tuple[int, ...]) -> None:
    """Whether a UNet of these channels can be made.

    Raises:
        ValueError: it cannot.
    """
    if any(c <= 0 or c % 16 for c in channels):
        raise ValueError(f"--channels {','.join(map(str, channels))}: give multiples of 16")


def check_sizes(channels: tuple[int, ...], crop: int) -> None:
    """Whether a UNet of these channels can be made, and trained on crops of this size.

    Raises:
        ValueError: it cannot.
    """
    check_channels(channels)
    if crop % 2 ** (len(channels) - 1) or not 0 < crop <= GRID:
        raise ValueError(f"--crop {crop}: give a multiple of {2 ** (len(channels) - 1)} up to {GRID}")
