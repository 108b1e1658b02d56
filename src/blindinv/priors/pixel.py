"""Diffusion priors of images in pixels."""

import torch
from torch import Tensor, nn

from blindinv.operators.fourier import Spectrum
from blindinv.precision import computing
from blindinv.schedule import Schedule


class PixelPrior(nn.Module):
    """A diffusion model of the pixels themselves: the same protocol as `LatentPrior`, with z = 2x - 1.

    Args:
        denoiser: (z_t, t (B,) integer) -> E[z_0 | z_t], for images in [-1, 1].
        schedule: noise schedule of the denoiser.
        channels: of the images.
        spectrum: error spectrum R_t of decode(E[z_0 | z_t]), if it was measured.
        image_spectrum: radial power of images around their mean colour, if it was measured.
        dtype: as of `LatentPrior`.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        schedule: Schedule,
        channels: int = 3,
        spectrum: Spectrum | None = None,
        image_spectrum: Spectrum | None = None,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.denoiser, self.schedule, self.channels = denoiser, schedule, channels
        self.spectrum, self.image_spectrum = spectrum, image_spectrum

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (B, C, H, W): the same."""
        return (image[0], self.channels, *image[2:])

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] -> the same in [-1, 1]."""
        return 2 * x - 1

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) -> images, about [0, 1], not clipped."""
        return (z + 1) / 2

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t]."""
        with computing(z_t.device, self.dtype):
            z0 = self.denoiser(z_t, torch.full((len(z_t),), t, device=z_t.device))
        return z0.to(z_t.dtype)
