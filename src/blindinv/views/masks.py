"""Where pictures on white show an object."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masks_from_white(views: Tensor, threshold: float = 0.06, edge: int = 1) -> Tensor:
    """(V, 1, S, S) in [0, 1]: where views (V, 3, S, S) on white show an object.

    Pixels further than `threshold` from white, in any channel, are on the object. At its edge, colours are mixtures
    a c + (1 - a) of white and the object's colour c nearby, inside; their share a is the mask there.

    Args:
        views: in [0, 1].
        threshold: on the same scale.
        edge: how wide the edge is, in pixels: 1 in sharp pictures, more in soft ones.
    """
    hard = ((1 - views).amax(1, keepdim=True) > threshold).to(views)
    core = 1 - F.max_pool2d(1 - F.pad(hard, (edge,) * 4, value=1.0), 2 * edge + 1, 1)
    near, colour = (F.avg_pool2d(x, 4 * edge + 1, 1, 2 * edge) for x in (core, views * core))
    dark = (1 - colour / near.clamp(min=1e-6)) * (near > 0)
    share = ((1 - views) * dark).sum(1, keepdim=True) / dark.square().sum(1, keepdim=True).clamp(min=1e-6)
    return torch.where((core > 0) | (near <= 0), hard, share.clamp(0, 1) * hard)
