"""A diffusion prior of blur kernels (BlindDPS, Chung et al., CVPR 2023), and the range that its states live in.

A kernel over its maximum is an image in [0, 1]; z = 2 k / max(k) - 1. What is decoded lies on the simplex (non-negative,
sum 1) whatever z is, and is differentiable: the projection of the paper's algorithm 2 belongs to `decode`.
"""

import torch
from torch import Tensor, nn

from blindinv.kernels.measure import normalize
from blindinv.precision import computing
from blindinv.schedule import Schedule

FLOOR = 0.05
"""Least standard deviation of a pixel on [-1, 1]: pixels that no training kernel reaches are not thereby impossible."""
GATE = 4.0
"""Added to the gate, so that it is open before training."""


class KernelStates:
    """How kernels become diffusion states and back.

    Args:
        size: of the kernels.
        schedule: of the diffusion.
    """

    def __init__(self, size: int, schedule: Schedule) -> None:
        self.size, self.schedule = size, schedule

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (B, C, H, W): (B, 1, size, size)."""
        return (image[0], 1, self.size, self.size)

    def encode(self, k: Tensor) -> Tensor:
        """Kernels (B, 1, size, size) -> z in [-1, 1].

        Raises:
            ValueError: kernels of another size.
        """
        if tuple(k.shape[1:]) != (1, self.size, self.size):
            raise ValueError(f"this prior knows kernels of (1, {self.size}, {self.size}), got {tuple(k.shape[1:])}")
        return 2 * k / k.amax((-2, -1), keepdim=True).clamp(min=1e-12) - 1

    def raw(self, z: Tensor) -> Tensor:
        """The kernel before it is normalised, non-negative, about [0, 1]: what sparsity is measured on."""
        return ((z + 1) / 2).clamp(min=0)

    def decode(self, z: Tensor) -> Tensor:
        """z -> kernels (B, 1, size, size), non-negative, sum 1."""
        return normalize(self.raw(z))


class PixelwiseDenoiser(nn.Module):
    """Posterior mean of z_0: that of independent Gaussian pixels, a learned correction F, and a learned gate G.

        x_0 = sigmoid(G + 4) (w + c F + 1) - 1
        w = m + sqrt(abar) s^2 / (abar s^2 + 1 - abar) (z_t - sqrt(abar) m)
        c = sqrt(1 - abar) s / sqrt(abar s^2 + 1 - abar)

    with mean m and standard deviation s of each pixel: the preconditioning of Karras et al., "Elucidating the design space
    of diffusion-based generative models", 2022, table 1, for fields that are not stationary. Most pixels of a kernel are
    exactly 0 (z = -1); the gate is the probability that one is not, and without it the haze that is left over so many
    pixels would weigh as much as the kernel.

    Args:
        network: called as `network(cat[residual, w], t)`, two channels in and two out, F and G.
        size: of the states.
        abar: (T,) the noise schedule.
    """

    abar: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, size: int, abar: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(1, 1, size, size))
        self.register_buffer("std", torch.ones(1, 1, size, size))
        self.register_buffer("abar", abar.float(), persistent=False)

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Set mean and standard deviation of every pixel from `z`, (N, 1, size, size)."""
        self.mean.copy_(z.mean(0, keepdim=True))
        self.std.copy_(z.std(0, keepdim=True).clamp(min=FLOOR))

    def gaussian(self, z_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(w, c, residual): mean and standard deviation of Gaussian pixels given z_t, and z_t of zero mean and unit variance."""
        a = self.abar[t].view(-1, 1, 1, 1)
        total = (a * self.std.square() + 1 - a).sqrt()
        r = (z_t - a.sqrt() * self.mean) / total
        return self.mean + a.sqrt() * self.std.square() / total * r, (1 - a).sqrt() * self.std / total, r

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """E[z_0 | z_t], (B, 1, size, size); t is (B,), integer."""
        w, c, r = self.gaussian(z_t, t)
        f, g = self.network(torch.cat([r, w], 1), t).float().chunk(2, 1)
        return torch.sigmoid(g + GATE) * (w + c * f + 1) - 1


class KernelDiffusion(KernelStates, nn.Module):
    """A diffusion model of blur kernels of one size.

    Args:
        denoiser: (z_t, t (B,) integer) -> E[z_0 | z_t].
        schedule: noise schedule of the denoiser.
        size: of the kernels.
        dtype: as of `LatentPrior`.
    """

    def __init__(self, denoiser: nn.Module, schedule: Schedule, size: int, dtype: torch.dtype | None = torch.float32) -> None:
        nn.Module.__init__(self)
        KernelStates.__init__(self, size, schedule)
        self.denoiser, self.dtype = denoiser, dtype

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t], clipped to [-1, 1] as in the released code of BlindDPS; gradients pass as if it were not."""
        with computing(z_t.device, self.dtype):
            z0 = self.denoiser(z_t, torch.full((len(z_t),), t, device=z_t.device))
        z0 = z0.to(z_t.dtype)
        return z0 + (z0.clamp(-1, 1) - z0).detach()
