"""How well poses are found when the prior is perfect: what is left is the error of the method."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.methods.posefree import posefree
from blindinv.views.camera import camera_error, orbit
from blindinv.views.oracle import snapshots
from blindinv.views.search import Search, find_poses


@dataclass(frozen=True, eq=False)
class Recovery:
    """Errors of poses, one per pair of pictures.

    Attributes:
        searched: (N,) degrees after `find_poses`.
        refined: (N,) degrees after EM from there.
        radius: (N,) error of the difference of radius after EM.
    """

    searched: Tensor
    refined: Tensor
    radius: Tensor


def recovery(
    objects: int = 10,
    pairs: int = 5,
    *,
    size: int = 24,
    steps: int = 50,
    views: int = 8,
    search: Search = Search(),  # noqa: B008 (a frozen value)
    seed: int = 0,
) -> Recovery:
    """Random objects, for each of them one first picture and `pairs` second ones from random places, under the oracle prior.

    Args:
        objects: number of objects.
        pairs: pairs of pictures of each.
        size: of the pictures, pixels.
        steps: of the reverse diffusion.
        views: targets on an orbit at the height of the first camera.
        search: how hard to look for the pose to start from.
        seed: of everything.
    """
    rows = [_object(seed + i, pairs, size, steps, views, search) for i in range(objects)]
    return Recovery(*(torch.cat(column) for column in zip(*rows, strict=True)))


def _object(seed: int, pairs: int, size: int, steps: int, views: int, search: Search) -> tuple[Tensor, Tensor, Tensor]:
    prior = snapshots(seed, pairs + 1, size)
    y, camera = prior.pictures(), prior.camera
    found = find_poses(y, prior, camera.polar[0], search, seed)
    start = torch.stack([h.poses[:1] for h in found])
    around = orbit(views)
    targets = around.relative_to(around[:1])
    both = torch.stack([torch.stack([y[0], other]) for other in y[1:]])
    *_, last = posefree(both, prior, targets, start, polar=camera.polar[0], steps=steps)
    first, truth = camera[[0] * pairs], camera[1:]
    errors = [camera_error(first.moved(phi[:, 0]), truth) for phi in (start, last.phi)]
    return errors[0], errors[1], (last.phi[:, 0] - truth.relative_to(first))[:, 2].abs()
