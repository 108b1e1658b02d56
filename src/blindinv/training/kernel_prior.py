"""Recipe of the diffusion prior of blur kernels: a bank of camera-shake and Gaussian kernels, turned and mirrored."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindinv.kernels.mixture import kernel_bank, symmetries
from blindinv.priors.kernel_diffusion import PixelwiseDenoiser
from blindinv.schedule import Schedule
from blindinv.training.levels import LEVELS, stratified
from blindinv.training.prior import certainty
from blindinv.zoo.shipped import KERNEL_PRIOR
from blindinv.zoo.unet import patch_unet

BANK_SEED, VALIDATION_SEED = 0, 1
FACTOR = 2


def kernel_states(bank: Tensor) -> Tensor:
    """z of kernels over their maximum, uint8 (B, 1, n, n): float in [-1, 1]."""
    return bank.float() / 127.5 - 1


class KernelPriorLoss:
    """Mean squared error, per pixel and t in units of what independent Gaussian pixels leave, weighted by `certainty`.

    Args:
        bank: (N, 1, n, n) uint8, kernels over their maximum.
        batch: kernels per step, each turned or mirrored at random; t is stratified over them.
    """

    def __init__(self, bank: Tensor, batch: int = 64, device: str = "cpu") -> None:
        self.bank, self.batch, self.device = bank, batch, device

    def __call__(self, model: PixelwiseDenoiser, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        z = kernel_states(self.bank[torch.randint(len(self.bank), (self.batch,), generator=generator)])
        z = symmetries(z, torch.randint(8, (self.batch,), generator=generator))
        t, noise = stratified(self.batch, len(model.abar), generator), torch.randn(z.shape, generator=generator)
        z, t, noise = (v.to(self.device) for v in (z, t, noise))
        a = model.abar[t].view(-1, 1, 1, 1)
        with torch.autocast(z.device.type, torch.bfloat16):
            z_t = a.sqrt() * z + (1 - a).sqrt() * noise
            z0, (_, c, _) = model(z_t, t), model.gaussian(z_t, t)
        return (certainty(a, c) * ((z0 - z) / c).square()).mean()


class KernelPriorScores:
    """Mean squared error of z_0 over that of independent Gaussian pixels, at a few noise levels (below 1 is better)."""

    def __init__(self, size: int = 64, count: int = 128) -> None:
        self.z = kernel_states(kernel_bank(count, size, VALIDATION_SEED))

    @torch.no_grad()
    def __call__(self, model: PixelwiseDenoiser) -> dict[str, float]:
        """`ratio_t` for each level t."""
        generator, scores, z = torch.Generator().manual_seed(0), {}, self.z.to(model.abar.device)
        for level in LEVELS:
            a = model.abar[level]
            z_t = a.sqrt() * z + (1 - a).sqrt() * torch.randn(z.shape, generator=generator).to(z.device)
            t = torch.full((len(z),), level, device=z.device)
            w, _, _ = model.gaussian(z_t, t)
            scores[f"ratio_{level}"] = float((model(z_t, t) - z).square().mean() / (w - z).square().mean())
        return scores


@dataclass(frozen=True)
class KernelPriorRecipe:
    """What is trained on what, by default.

    Args:
        size: of the kernels.
        channels: of the UNet at each resolution, multiples of 16; the first is at half of the kernel's.
        bank: kernels made at the start, from which the batches are drawn.
        batch: kernels per step.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    size: int = 64
    channels: tuple[int, ...] = (64, 96, 128)
    bank: int = 60_000
    batch: int = 32
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def config(self) -> dict[str, Any]:
        """What `build_kernel_prior` needs besides the tensors."""
        return {"kind": KERNEL_PRIOR, "size": self.size, "unet": {"channels": list(self.channels), "factor": FACTOR}}

    def setup(self) -> tuple[PixelwiseDenoiser, KernelPriorLoss]:
        """The denoiser, of independent Gaussian pixels at first, and its loss."""
        bank = kernel_bank(self.bank, self.size, BANK_SEED)
        torch.manual_seed(self.seed)
        network: Any = patch_unet(2, 2, self.channels, FACTOR)
        model = PixelwiseDenoiser(network, self.size, Schedule.linear().abar)
        model.fit(kernel_states(bank[:4000]))
        network.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()
        return model.to(self.device), KernelPriorLoss(bank, self.batch, self.device)
