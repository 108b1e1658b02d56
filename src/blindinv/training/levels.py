"""The noise levels that a diffusion model is trained at, and judged at."""

import torch
from torch import Tensor

LEVELS = (50, 100, 200, 300, 420, 550, 700, 850)


def stratified(batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """Timesteps (batch,) in 0..steps - 1, spread evenly over the batch but for one random shift.

    Two thirds of them fall in the lower half, where posterior sampling spends its steps.
    """
    u = (torch.arange(batch) + torch.rand((), generator=generator)) / batch
    u = torch.where(u < 2 / 3, 0.75 * u, 0.5 + 1.5 * (u - 2 / 3)) * steps
    return u.long().clamp(0, steps - 1)
