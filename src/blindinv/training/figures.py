"""Pictures of a training run: the loss curve, and what the network makes of a few inputs."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blindinv.kernels.measure import normalize
from blindinv.kernels.motion import motion_kernels
from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.kernel import KernelDenoiser, KernelRefiner
from blindinv.priors.latent import LatentPrior
from blindinv.priors.pixel import PixelPrior
from blindinv.protocols import generators, randn
from blindinv.training.sampling import sample_states

GAP, CAPTION = 4, 16
WHITE, INK, GREY, BLUE = (255, 255, 255), (32, 32, 32), (221, 221, 221), (31, 119, 180)
ImagePrior = LatentPrior | PixelPrior
NOISE = (100, 300, 550, 850)
KERNEL_NOISE = (3e-4, 1e-3, 3e-3)


def sheet(rows: Sequence[tuple[str, Tensor]]) -> Image.Image:
    """Rows of pictures, each with a caption above it.

    Args:
        rows: caption and pictures (N, 3, H, W) or (N, 1, H, W) in [0, 1] (clipped).
    """
    strips = [
        np.concatenate([np.pad(p, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for p in _bytes(x)], 1) for _, x in rows
    ]
    width, height = max(s.shape[1] for s in strips), sum(s.shape[0] + CAPTION for s in strips)
    page, top = Image.new("RGB", (width + GAP, height + GAP), WHITE), 0
    draw = ImageDraw.Draw(page)
    for (caption, _), strip in zip(rows, strips, strict=True):
        draw.text((GAP, top + 2), caption, fill=INK, font=ImageFont.load_default())
        page.paste(Image.fromarray(np.ascontiguousarray(strip)), (GAP, top + CAPTION))
        top += strip.shape[0] + CAPTION
    return page


def _bytes(x: Tensor) -> np.ndarray:
    x = x.detach().float().cpu().expand(-1, 3, -1, -1).clamp(0, 1)
    return (255 * x + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def loss_curve(history: Sequence[Mapping[str, float]], size: tuple[int, int] = (640, 360)) -> Image.Image:
    """The loss of every checkpoint over the steps, the loss on a logarithmic axis.

    Args:
        history: rows with `step` and `loss`; rows without a positive, finite loss are left out.
        size: width and height in pixels.
    """
    points = [(r["step"], math.log10(r["loss"])) for r in history if r["loss"] > 0 and math.isfinite(r["loss"])]
    page = Image.new("RGB", size, WHITE)
    draw, (left, top, right, bottom) = ImageDraw.Draw(page), (64, 28, size[0] - 20, size[1] - 40)
    draw.text((left, 8), "training loss over steps", fill=INK, font=ImageFont.load_default())
    steps, logs = [p[0] for p in points] or [1.0], [p[1] for p in points] or [0.0]
    low, high, end = min(logs) - 0.02, max(logs) + 0.02, max(steps)
    for i in range(5):
        y, x = bottom - i / 4 * (bottom - top), left + i / 4 * (right - left)
        draw.line([(left, y), (right, y)], fill=GREY)
        draw.text(
            (left - 6, y), f"{10 ** (low + i / 4 * (high - low)):.3g}", fill=INK, anchor="rm", font=ImageFont.load_default()
        )
        draw.text((x, bottom + 8), f"{i / 4 * end:.4g}", fill=INK, anchor="ma", font=ImageFont.load_default())
    curve = [(left + s / end * (right - left), bottom - (v - low) / (high - low) * (bottom - top)) for s, v in points]
    if len(curve) > 1:
        draw.line(curve, fill=BLUE, width=2)
    for x, y in curve:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=BLUE)
    return page


@torch.no_grad()
def autoencoder_picture(model: PatchAutoencoder, photos: Tensor) -> Image.Image:
    """Photos (N, 3, H, W) in [0, 1] and what comes back through the autoencoder."""
    x = (2 * photos - 1).to(model.linear_encoder.weight.device).contiguous(memory_format=torch.channels_last)
    return sheet([("originals", photos), ("reconstructions", 0.5 + 0.5 * model.decode(model.encode(x)))])


@torch.no_grad()
def draw_samples(prior: ImagePrior, count: int, side: int = 256, steps: int = 50, seed: int = 0, eta: float = 0.0) -> Tensor:
    """Unconditional samples by DDIM, (count, 3, side, side), about [0, 1].

    Args:
        prior: of images.
        count: of samples.
        side: of the samples in pixels.
        steps: of DDIM.
        seed: of the noise.
        eta: of DDIM.
    """
    device = next(prior.parameters()).device
    z = sample_states(prior, prior.shape((count, 3, side, side)), steps, seed, eta, device)
    return prior.decode(z)


@torch.no_grad()
def prior_picture(prior: ImagePrior, photo: Tensor, samples: int = 4) -> Image.Image:
    """Unconditional samples, and one photo (1, 3, H, W) in [0, 1] as the prior sees it through four noise levels."""
    device = next(prior.parameters()).device
    z = prior.encode(photo.to(device))
    noise, noisy, clean = randn(tuple(z.shape), generators(0, 1, device), device), [], []
    for t in NOISE:
        abar = prior.schedule.at(t)
        z_t = abar**0.5 * z + (1 - abar) ** 0.5 * noise
        noisy.append(prior.decode(z_t / abar**0.5))
        clean.append(prior.decode(prior.denoise(z_t, t)))
    levels = ", ".join(map(str, NOISE))
    return sheet(
        [
            ("unconditional samples, 50 DDIM steps", draw_samples(prior, samples)),
            (f"the photo; with noise, t = {levels}", torch.cat([photo.to(device), *noisy])),
            ("the photo; denoised", torch.cat([photo.to(device), *clean])),
        ]
    )


@torch.no_grad()
def refiner_picture(model: KernelRefiner, seen: Tensor, truth: Tensor) -> Image.Image:
    """Where EM started, what it found, refined, and true; each column is scaled to the maximum of the true kernel.

    Args:
        model: the refiner.
        seen: features (B, 6, n, n).
        truth: (B, 1, n, n).
    """
    made = model.averaged(seen.to(next(model.parameters()).device)).cpu()
    scale = truth.amax((-2, -1), keepdim=True)
    rows = [("start", normalize(seen[:, :1])), ("EM", normalize(seen[:, 1:2])), ("refined", made), ("true", normalize(truth))]
    return sheet([(name, (x / scale).clamp(0, 1).repeat_interleave(2, -1).repeat_interleave(2, -2)) for name, x in rows])


@torch.no_grad()
def kernel_picture(model: KernelDenoiser, size: int, count: int = 6, seed: int = 2) -> Image.Image:
    """Kernels with noise, denoised, and true, two of each noise level; each column is scaled to the maximum of the true kernel.

    Args:
        model: the denoiser.
        size: of the kernels.
        count: of kernels.
        seed: of kernels and noise.
    """
    generator, device = torch.Generator().manual_seed(seed), next(model.parameters()).device
    k = motion_kernels(count, size, 0.5, generator)
    sigma = torch.tensor([KERNEL_NOISE[i * len(KERNEL_NOISE) // count] for i in range(count)]).view(-1, 1, 1, 1)
    noisy = k + sigma * torch.randn(k.shape, generator=generator)
    clean = model(noisy.to(device), sigma.to(device)).cpu()
    scale, zoom = k.amax((-2, -1), keepdim=True), max(1, 128 // size)
    rows = [("noisy", noisy), ("denoised", clean), ("true", k)]
    return sheet([(name, (x / scale).repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)) for name, x in rows])
