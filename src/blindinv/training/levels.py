"""The noise levels that a diffusion model is trained at, and judged at."""

import torch
from torch import Tensor

LEVELS = (50, 100, 200, 300, 420, 550, 700, 850)


def stratified(batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """Timesteps (batch,) in 0..steps - 1, one in each of `batch` equal parts of the range."""
    u = (torch.arange(batch) + torch.rand((), generator=generator)) / batch
    return (u * steps).long().clamp(0, steps - 1)
