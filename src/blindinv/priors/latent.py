"""Diffusion priors of images: in the latents of an autoencoder, or in pixels."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blindinv.operators.fourier import Spectrum, fft
from blindinv.precision import computing
from blindinv.protocols import Prior, generators, randn
from blindinv.schedule import Schedule


class LatentPrior(nn.Module):
    """A latent diffusion model: autoencoder, denoiser of latents, schedule.

    Args:
        autoencoder: `encode` takes images (B, 3, H, W) in [-1, 1] to latents before shift and scale, `decode` back.
        denoiser: (z_t, t (B,) integer) -> E[z_0 | z_t], for latents of about unit variance.
        schedule: noise schedule of the denoiser.
        channels: of z.
        factor: down-sampling of the autoencoder.
        shift: per channel, (C,): z = (encode(x) - shift) / scale.
        scale: per channel, (C,).
        spectrum: error spectrum R_t of decode(E[z_0 | z_t]), if it was measured.
        image_spectrum: radial power of images around their mean colour, if it was measured.
        dtype: that the networks compute in, None: the quickest of the device (see `precision`). What goes in and comes out is
            as precise as the input.
    """

    autoencoder: Any
    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        schedule: Schedule,
        channels: int,
        factor: int,
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        spectrum: Spectrum | None = None,
        image_spectrum: Spectrum | None = None,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        super().__init__()
        self.autoencoder, self.denoiser, self.dtype = autoencoder, denoiser, dtype
        self.schedule, self.channels, self.factor = schedule, channels, factor
        self.spectrum, self.image_spectrum = spectrum, image_spectrum
        self.register_buffer("shift", torch.as_tensor(shift).float().reshape(1, -1, 1, 1))
        self.register_buffer("scale", torch.as_tensor(scale).float().reshape(1, -1, 1, 1))

    @property
    def exact(self) -> "LatentPrior":
        """The same networks in float32: for figures that a choice hangs on, which rounding could tip."""
        other = copy.copy(self)
        other.dtype = torch.float32
        return other

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (B, 3, H, W)."""
        return (image[0], self.channels, image[2] // self.factor, image[3] // self.factor)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> (B, C, H/f, W/f)."""
        with computing(x.device, self.dtype):
            z = self.autoencoder.encode((2 * x - 1).contiguous(memory_format=torch.channels_last))
        return (z.to(x.dtype) - self.shift) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, h, w) -> images, about [0, 1], not clipped."""
        z = (z * self.scale + self.shift).contiguous(memory_format=torch.channels_last)
        with computing(z.device, self.dtype):
            x = self.autoencoder.decode(z)
        return 0.5 + 0.5 * x.to(z.dtype)

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t]."""
        with computing(z_t.device, self.dtype):
            z0 = self.denoiser(z_t, torch.full((len(z_t),), t, device=z_t.device))
        return z0.to(z_t.dtype)


LEVELS = (0, 25, 50, 100, 150, 200, 300, 420, 550, 700, 850, 999)


@torch.no_grad()
def measure_spectrum(prior: Prior, photos: Tensor, levels: Sequence[int] = LEVELS, seed: int = 0) -> Spectrum:
    """The error spectrum R_t of a prior: radial power of decode(E[z_0 | z_t]) - x on a few photos.

    Args:
        prior: any latent (or pixel) prior.
        photos: (N, 3, H, W) in [0, 1].
        levels: timesteps to measure; the spectrum interpolates between them.
        seed: of the noise.
    """
    size, rings = (photos.shape[-2], photos.shape[-1]), []
    levels = [t for t in levels if t < len(prior.schedule)]
    for t in levels:
        abar, power = prior.schedule.at(t), torch.zeros(())
        for i, x in enumerate(photos.split(4)):
            z = prior.encode(x)
            noise = randn(tuple(z.shape), generators(seed + i, len(x), x.device), x.device)
            error = prior.decode(prior.denoise(abar**0.5 * z + (1 - abar) ** 0.5 * noise, t)) - x
            power = power + fft(error).abs().square().mean(1).sum(0).cpu()
        rings.append(Spectrum.rings(power / len(photos), size))
    return Spectrum(list(levels), torch.stack(rings))
