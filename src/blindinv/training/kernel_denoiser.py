"""Recipe of the plug-and-play kernel denoiser: camera-shake kernels made on the fly, noise levels log-uniform."""

import math

import torch
from torch import Tensor

from blindinv.kernels.motion import motion_kernels
from blindinv.priors.kernel import SCALE, KernelDenoiser

SIGMAS = (1e-4, 1e-2)


class KernelDenoiserLoss:
    """Mean squared error over the noise level, softened, so that small noise counts as much as large.

    Args:
        size: kernel size of the training data.
        batch: kernels per step, of intensity uniform in [0.1, 1].
    """

    def __init__(self, size: int = 64, batch: int = 32, device: str = "cpu") -> None:
        self.size, self.batch, self.device = size, batch, device

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Clean kernels, noisy kernels and their noise level (batch, 1, 1, 1)."""
        intensity = 0.1 + 0.9 * torch.rand(self.batch, generator=generator)
        k = motion_kernels(self.batch, self.size, intensity, generator)
        u = torch.rand(self.batch, 1, 1, 1, generator=generator)
        sigma = SIGMAS[0] * (SIGMAS[1] / SIGMAS[0]) ** u
        noisy = k + sigma * torch.randn(k.shape, generator=generator)
        return k.to(self.device), noisy.to(self.device), sigma.to(self.device)

    def __call__(self, model: KernelDenoiser, generator: torch.Generator) -> Tensor:
        k, noisy, sigma = self.draw(generator)
        error = (model(noisy, sigma) - k) * SCALE
        return (error.square().mean((1, 2, 3)) / (sigma.flatten() * SCALE + 0.01)).mean()


class KernelDenoiserScores:
    """Root mean square error at noise 3e-4, 1e-3 and 3e-3, over the noise itself (below 1 is better)."""

    def __init__(self, size: int = 64, count: int = 64) -> None:
        self.k = motion_kernels(count, size, 0.5, torch.Generator().manual_seed(0))

    @torch.no_grad()
    def __call__(self, model: KernelDenoiser) -> dict[str, float]:
        generator, scores = torch.Generator().manual_seed(1), {}
        for sigma in (3e-4, 1e-3, 3e-3):
            noisy = self.k + sigma * torch.randn(self.k.shape, generator=generator)
            scores[f"rmse_over_sigma_{sigma:g}"] = float((model(noisy, sigma) - self.k).square().mean().sqrt()) / sigma
        return scores | {"log_mean": math.log(sum(scores.values()) / len(scores))}
