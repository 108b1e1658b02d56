"""How high above the object was the first camera? The height at which its novel views make one object is the best guess.

View priors know relative poses, but a turn around a leaning axis is not a turn around an upright one: where the first
camera's elevation is wrong, the cameras of all views are, in a way that no object explains. So a coarse surface is fitted for
each of several elevations, and their errors are compared. (One-2-3-45, Liu et al., NeurIPS 2023, matches features instead.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindinv.views.camera import Camera
from blindinv.views.surface import Fit, Fitting, fit_surface

CANDIDATES = (-20.0, 0.0, 20.0, 40.0, 60.0)
"""Elevations in degrees."""
COARSE = Fit((32,), (250,), (1e-2,), rays=640, samples=32, fine=16, sharpness=(30.0, 200.0))
"""A fit that takes 3 seconds on a CPU."""

Views = Callable[[float], tuple[Tensor, Camera]]
"""An elevation of the first camera in degrees -> views (V, 3, S, S) in [0, 1] on white, and the cameras that they would have."""


@dataclass(frozen=True)
class Elevation:
    """What was found.

    Attributes:
        degrees: the estimate.
        candidates: elevations that were tried, in degrees, in order.
        losses: their mean absolute errors of colours on [0, 1].
    """

    degrees: float
    candidates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def clear(self) -> bool:
        """Whether the best one is better than the worst by a tenth; otherwise the views do not tell."""
        return min(self.losses) < 0.9 * max(self.losses)


def find_elevation(
    views: Views,
    candidates: Sequence[float] = CANDIDATES,
    settings: Fit = COARSE,
    seed: int = 0,
    record: Callable[[Fitting], Any] = lambda fitting: None,
) -> Elevation:
    """Fit a coarse surface at each candidate and keep the one with the lowest error.

    Args:
        views: makes them for one candidate; where the prior ignores the absolute height, the pictures may be the same each time.
        candidates: elevations in degrees, at least one, rising.
        settings: of the fits; cameras must stay where they are.
        seed: of the fits.
        record: called after every iteration of each fit.

    Raises:
        ValueError: no candidates, or not rising; or views that show nothing.
    """
    if not candidates or list(candidates) != sorted(set(candidates)):
        raise ValueError(f"candidates must be rising elevations, got {list(candidates)}")
    losses = [_loss(*views(degrees), settings, seed, record) for degrees in candidates]
    return Elevation(lowest(candidates, losses), tuple(map(float, candidates)), tuple(losses))


def _loss(views: Tensor, camera: Camera, settings: Fit, seed: int, record: Callable[[Fitting], Any]) -> float:
    for fitting in fit_surface(views, camera, None, settings, seed):
        record(fitting)
    assert fitting.surface is not None
    return float((fitting.surface.render(camera, views.shape[-1]) - views).abs().mean())


def lowest(at: Sequence[float], values: Sequence[float]) -> float:
    """Where a curve through points is lowest: at the vertex of the parabola through the lowest point and its neighbours.

    It is within half the distance to either neighbour; at an end of the curve it is the end.
    """
    i = min(range(len(at)), key=values.__getitem__)
    if not 0 < i < len(at) - 1:
        return float(at[i])
    x, y = (torch.tensor(v[i - 1 : i + 2], dtype=torch.float64) for v in (list(at), list(values)))
    c = torch.linalg.solve(torch.stack([x**2, x, torch.ones(3).double()], 1), y)
    vertex = float(-c[1] / (2 * c[0])) if c[0] > 0 else float(x[1])
    return min(max(vertex, float(x[0] + x[1]) / 2), float(x[1] + x[2]) / 2)
