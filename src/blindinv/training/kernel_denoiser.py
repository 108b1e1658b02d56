"""Recipe of the plug-and-play kernel denoiser: camera-shake kernels made on the fly, noise levels log-uniform."""

import math
from dataclasses import dataclass

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
        """The loss of one batch."""
        k, noisy, sigma = self.draw(generator)
        error = (model(noisy, sigma) - k) * SCALE
        return (error.square().mean((1, 2, 3)) / (sigma.flatten() * SCALE + 0.01)).mean()


class KernelDenoiserScores:
    """Root mean square error at noise 3e-4, 1e-3 and 3e-3, over the noise itself (below 1 is better)."""

    def __init__(self, size: int = 64, count: int = 64) -> None:
        self.k = motion_kernels(count, size, 0.5, torch.Generator().manual_seed(0))

    @torch.no_grad()
    def __call__(self, model: KernelDenoiser) -> dict[str, float]:
        """`rmse_over_sigma_...` for each noise level, and the logarithm of their mean."""
        generator, scores, device = torch.Generator().manual_seed(1), {}, next(model.parameters()).device
        for sigma in (3e-4, 1e-3, 3e-3):
            noisy = self.k + sigma * torch.randn(self.k.shape, generator=generator)
            error = model(noisy.to(device), sigma).cpu() - self.k
            scores[f"rmse_over_sigma_{sigma:g}"] = float(error.square().mean().sqrt()) / sigma
        return scores | {"log_mean": math.log(sum(scores.values()) / len(scores))}


@dataclass(frozen=True)
class KernelDenoiserRecipe:
    """What is trained on what, by default.

    Args:
        size: of the kernels.
        batch: kernels per step.
        channels, depth: of `KernelDenoiser`.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    size: int = 64
    batch: int = 32
    channels: int = 32
    depth: int = 5
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def setup(self) -> tuple[KernelDenoiser, KernelDenoiserLoss]:
        """The denoiser and its loss."""
        torch.manual_seed(self.seed)
        model = KernelDenoiser(self.channels, self.depth).to(self.device)
        if self.compile:
            model.compile()
        return model, KernelDenoiserLoss(self.size, self.batch, self.device)
