"""The plug-and-play denoiser of blur kernels (LatentDEM, Bai et al., appendix B.2)."""

import torch
from torch import Tensor, nn

SCALE = 64.0


class KernelDenoiser(nn.Module):
    """DnCNN of 5 convolutions with 32 channels and the noise level as a second input channel.

    Works on kernels of any size; noise levels are in the units of a kernel that sums to 1 (about 1e-4 to 1e-2).
    """

    def __init__(self, channels: int = 32, depth: int = 5) -> None:
        super().__init__()
        self.config = dict(channels=channels, depth=depth)
        layers: list[nn.Module] = [nn.Conv2d(2, channels, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, k: Tensor, sigma: float | Tensor) -> Tensor:
        """Remove Gaussian noise of standard deviation `sigma` (a number or (B, 1, 1, 1)) from kernels (B, 1, n, n)."""
        level = torch.as_tensor(sigma, dtype=k.dtype, device=k.device).expand(len(k), 1, 1, 1).expand_as(k)
        return k - self.layers(torch.cat([k, level], 1) * SCALE) / SCALE
