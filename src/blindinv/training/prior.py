"""Recipe of the latent prior: a Wiener-preconditioned UNet on cached latents."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from blindinv.priors.wiener import GRID, WienerDenoiser
from blindinv.training.data import randint
from blindinv.training.loop import write_atomically

SCALES = (1.0, 0.8, 0.65)
LEVELS = (50, 100, 200, 300, 420, 550, 700, 850)


@torch.no_grad()
def cache_latents(encode: nn.Module, photos: list[Tensor], path: Path) -> None:
    """Encode every photo at three scales, plain, mirrored and transposed, into one float16 safetensors file."""
    latents: dict[str, Tensor] = {}
    for i, photo in enumerate(photos):
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

    def crops(self, batch: int, size: int, generator: torch.Generator) -> Tensor:
        """(batch, C, size, size), zero mean and unit variance per channel."""
        out = torch.empty(batch, len(self.shift), size, size)
        for i in range(batch):
            z = self.z[randint(len(self.z), generator)]
            while min(z.shape[1:]) < size:
                z = self.z[randint(len(self.z), generator)]
            y, x = randint(z.shape[1] - size + 1, generator), randint(z.shape[2] - size + 1, generator)
            out[i] = z[:, y : y + size, x : x + size].float()
        return (out - self.shift.view(1, -1, 1, 1)) / self.scale.view(1, -1, 1, 1)


def fit_gaussian(model: WienerDenoiser, latents: Latents, crops: int = 2000) -> None:
    """Set the Wiener part of the denoiser from the cached latents."""
    model.gaussian.fit(latents.crops(crops, GRID, torch.Generator().manual_seed(1)))


class PriorLoss:
    """Mean squared error of the correction, per t in units of what the Wiener filter leaves.

    t is stratified over the batch; two thirds of it fall in the lower half, where posterior sampling spends its steps.
    """

    def __init__(self, latents: Latents, batch: int = 8, size: int = 32, device: str = "cpu") -> None:
        self.latents, self.batch, self.size, self.device = latents, batch, size, device

    def __call__(self, model: WienerDenoiser, generator: torch.Generator) -> Tensor:
        z = self.latents.crops(self.batch, self.size, generator)
        u = (torch.arange(self.batch) + torch.rand((), generator=generator)) / self.batch
        u = torch.where(u < 2 / 3, 0.75 * u, 0.5 + 1.5 * (u - 2 / 3)) * len(model.abar)
        t, noise = u.long().clamp(0, len(model.abar) - 1), torch.randn(z.shape, generator=generator)
        z, t, noise = (v.to(self.device) for v in (z, t, noise))
        a = model.abar[t].view(-1, 1, 1, 1)
        with torch.autocast(z.device.type, torch.bfloat16):
            w, c, f = model.correction(a.sqrt() * z + (1 - a).sqrt() * noise, t)
        return (f.float() - (z - w) / c).square().mean()


class PriorScores:
    """Mean squared error of z_0 over that of the Wiener filter alone, at eight noise levels (below 1 is better)."""

    def __init__(self, z: Tensor) -> None:
        self.z = z

    @torch.no_grad()
    def __call__(self, model: WienerDenoiser) -> dict[str, float]:
        generator, scores = torch.Generator().manual_seed(0), {}
        for level in LEVELS:
            a = model.abar[level]
            z_t = a.sqrt() * self.z + (1 - a).sqrt() * torch.randn(self.z.shape, generator=generator)
            t = torch.full((len(self.z),), level)
            w, _ = model.gaussian(z_t, model.abar[t])
            scores[f"ratio_{level}"] = float((model(z_t, t) - self.z).square().mean() / (w - self.z).square().mean())
        return scores
