"""Samples of a diffusion prior by itself, by DDIM."""

from itertools import pairwise

import torch
from torch import Tensor

from blindinv.protocols import Prior, generators, randn
from blindinv.step import DDIM


@torch.no_grad()
def sample_states(
    prior: Prior, shape: tuple[int, ...], steps: int = 50, seed: int = 0, eta: float = 0.0, device: torch.device | str = "cpu"
) -> Tensor:
    """Unconditional samples of the states z_0, of `shape` (B, C, h, w).

    Args:
        prior: of anything.
        shape: of z.
        steps: of DDIM.
        seed: of the noise.
        eta: of DDIM.
        device: of the prior.
    """
    rng, step = generators(seed, shape[0], device), DDIM(eta)
    z = randn(shape, rng, device)
    for t, s in pairwise([*prior.schedule.timesteps(steps), -1]):
        noise = randn(shape, rng, device) if eta else torch.zeros_like(z)
        z = step(prior.schedule, z, prior.denoise(z, t), t, s, noise)
    return z
