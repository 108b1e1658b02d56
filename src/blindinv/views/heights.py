"""How high was the first camera? The height at which two pictures explain each other best, if the prior knows up from down.

Stable Zero123 and the shipped prior are told the absolute polar angle of their input. Told a wrong one, they denoise worse, at
the best relative pose too. `find_elevation` asks novel views instead, and is for priors that only know relative poses.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from blindinv.mstep.pose import within
from blindinv.views.camera import Camera
from blindinv.views.elevation import Elevation, lowest
from blindinv.views.search import Pair, Search, batches, compare, descend, descent_batches

USUAL = 20.0
"""Degrees, of a snapshot of a thing on a table: what is assumed where nothing tells."""
HEIGHTS = (-10.0, 5.0, USUAL, 40.0)
"""Elevations in degrees."""
COARSE = Search(keep=2, apart=0.0, steps=6, levels=(600, 400, 200), start=600, end=400, draws=1)
"""How hard to look for the pose at each of them."""
DRAWS = 4
"""Of noise, per level, for the last comparison."""
PULL = 0.005
"""An elevation 30 degrees from the usual one must explain the pictures better by this share."""


def at_height(pair: Pair, degrees: float) -> Pair:
    """The same pictures, the first believed to be taken from this elevation."""
    polar = torch.full_like(pair.cond.polar, math.radians(90 - degrees))
    return replace(pair, cond=pair.cond.at(polar))


@torch.no_grad()
def knows_up(pair: Pair) -> bool:
    """Whether what the prior says depends on the height of the first camera."""
    noise = torch.randn(pair.z.shape[1:], generator=torch.Generator().manual_seed(0)).to(pair.z)
    pose, t = pair.z.new_tensor([[0.1, 0.5, 0.0]]), len(pair.prior.schedule) // 2
    low, high = (at_height(pair, degrees).error(pose, t, noise) for degrees in (0.0, 40.0))
    return not torch.equal(low, high)


def tilted(camera: Camera, degrees: float) -> Camera:
    """All cameras so much higher, as if they had been reckoned from a first one that is."""
    return camera.moved(camera.pose.new_tensor([-math.radians(degrees), 0.0, 0.0]))


def find_height(pair: Pair, heights: Sequence[float] = HEIGHTS, search: Search = COARSE, seed: int = 0) -> Elevation:
    """Look for the pose of the second picture at each height, briefly and with the same noise, and compare what is left.

    Heights far from the usual one must be better by some share; where the prior tells nothing, the usual one is the answer.

    Args:
        pair: two pictures.
        heights: elevations in degrees, rising.
        search: how hard to look at each.
        seed: of the noise.
    """
    losses = [float(_least(at_height(pair, degrees), search, seed)) for degrees in heights]
    pulled = [loss * (1 + PULL * ((degrees - USUAL) / 30) ** 2) for degrees, loss in zip(heights, losses, strict=True)]
    return Elevation(lowest(heights, pulled), tuple(heights), tuple(losses))


def evaluations(search: Search, chunk: int, heights: Sequence[float] = HEIGHTS) -> int:
    """Batches that the prior is asked for by `find_height`."""
    compared = search.draws * batches(len(search.probes()), chunk) + DRAWS * batches(search.keep, chunk)
    return len(heights) * (len(search.levels) * compared + descent_batches(search, chunk))


def _least(pair: Pair, search: Search, seed: int) -> Tensor:
    """The error of the best pose at the height of the pair."""

    def rng() -> torch.Generator:
        return torch.Generator(pair.z.device).manual_seed(seed)

    probes = within(search.probes().to(pair.z), pair.cond.polar[:1])
    kept = probes[compare(pair, probes, search, rng()).argsort()[: search.keep]]
    found = descend(pair, kept, search, rng())
    return compare(pair, found, replace(search, draws=DRAWS), rng()).min()
