"""A diffusion prior of the tilt maps of atmospheric turbulence (BlindDPS, Chung et al., CVPR 2023)."""

import torch
from torch import Tensor, nn

from blindinv.precision import computing
from blindinv.schedule import Schedule

SCALE = 0.41
"""Standard deviation in pixels of the simulator's maps at strength 1: z has unit variance."""


class TiltDiffusion(nn.Module):
    """A diffusion model of displacement fields, of any size.

    Args:
        denoiser: (z_t, t (B,) integer) -> E[z_0 | z_t], for fields of about unit variance.
        schedule: noise schedule of the denoiser.
        scale: pixels per unit of z.
        dtype: as of `LatentPrior`.
    """

    def __init__(
        self, denoiser: nn.Module, schedule: Schedule, scale: float = SCALE, dtype: torch.dtype | None = torch.float32
    ) -> None:
        super().__init__()
        self.denoiser, self.schedule, self.scale, self.dtype = denoiser, schedule, scale, dtype

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (B, C, H, W): (B, 2, H, W)."""
        return (image[0], 2, *image[2:])

    def encode(self, tilt: Tensor) -> Tensor:
        """Displacements (B, 2, H, W) in pixels -> z."""
        return tilt / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """z -> displacements (B, 2, H, W) in pixels."""
        return z * self.scale

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t]."""
        with computing(z_t.device, self.dtype):
            z0 = self.denoiser(z_t, torch.full((len(z_t),), t, device=z_t.device))
        return z0.to(z_t.dtype)
