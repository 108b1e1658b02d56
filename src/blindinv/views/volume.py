"""Rays through a signed distance grid: where to sample them, and what they see.

Wang et al., "NeuS: Learning neural implicit surfaces by volume rendering for multi-view reconstruction", NeurIPS 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-5


def sampled(grid: Tensor, points: Tensor, extent: float) -> Tensor:
    """Trilinear values (..., C) of a grid (1, C, R, R, R) at points (..., 3) of the world.

    The grid's first and last nodes are at -extent and extent; its axes are x, y, z. Points outside get the border's values.
    """
    at = (points.flip(-1) / extent).reshape(1, 1, 1, -1, 3)
    values = F.grid_sample(grid, at, mode="bilinear", padding_mode="border", align_corners=True)
    return values.view(grid.shape[1], -1).T.reshape(*points.shape[:-1], grid.shape[1])


def crossing(origin: Tensor, direction: Tensor, extent: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays (N, 3) enter and leave the cube [-extent, extent]^3, (N,) each, and whether they do."""
    safe = torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
    a, b = (-extent - origin) / safe, (extent - origin) / safe
    near, far = torch.minimum(a, b).amax(-1).clamp(min=0), torch.maximum(a, b).amin(-1)
    return near, far, far > near


def weights(sdf: Tensor, sharpness: float) -> Tensor:
    """(N, M - 1): how much of a ray ends between samples, from signed distances (N, M) along it.

    alpha_i = max((S(f_i) - S(f_i+1)) / S(f_i), 0), w_i = alpha_i prod_j<i (1 - alpha_j), S(f) = sigmoid(sharpness f)
    (NeuS, eqs. 10 and 13).
    """
    s = torch.sigmoid(sharpness * sdf)
    alpha = ((s[:, :-1] - s[:, 1:]) / (s[:, :-1] + TINY)).clamp(0, 1)
    through = (1 - alpha + 1e-7).log().cumsum(-1).exp()
    return alpha * torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], -1)


def even(near: Tensor, far: Tensor, jitter: Tensor) -> Tensor:
    """(N, M) depths, one in each of M equal parts of [near, far], at the share `jitter` (N, M) of it."""
    count = jitter.shape[1]
    share = (torch.arange(count, device=near.device) + jitter) / count
    return near[:, None] + (far - near)[:, None] * share


def refined(depth: Tensor, weight: Tensor, jitter: Tensor, explore: float = 0.1) -> Tensor:
    """(N, K + 2) sorted depths: the ends of `depth` (N, M), and K drawn by its weights (N, M - 1), blurred by one part.

    Args:
        depth: sorted.
        weight: of the parts between them.
        jitter: (N, K) in [0, 1), the place of each draw in its share of the distribution.
        explore: share of the draws that are spread evenly.
    """
    wide = F.max_pool1d(F.pad(weight, (1, 1))[:, None], 3, 1)[:, 0]
    length = depth[:, 1:] - depth[:, :-1]
    density = wide / wide.sum(-1, keepdim=True).clamp(min=1e-3) + explore * length / length.sum(-1, keepdim=True)
    cdf = F.pad((density / density.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    u = (torch.arange(jitter.shape[1], device=depth.device) + jitter) / jitter.shape[1]
    above = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, cdf.shape[1] - 1)
    low, high = cdf.gather(1, above - 1), cdf.gather(1, above)
    share = ((u - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    start, end = depth.gather(1, above - 1), depth.gather(1, above)
    return torch.cat([depth[:, :1], start + share * (end - start), depth[:, -1:]], -1)
