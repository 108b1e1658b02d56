"""Novel views and cameras from pictures of one object whose poses are not known, in one call."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from blindinv.methods.posefree import posefree
from blindinv.priors.view import Condition, ViewPrior, horizon
from blindinv.protocols import generators
from blindinv.solve import Progress
from blindinv.views.camera import Camera, orbit
from blindinv.views.elevation import Elevation
from blindinv.views.heights import COARSE, USUAL, find_height, knows_up
from blindinv.views.heights import evaluations as height_evaluations
from blindinv.views.inputs import on_white
from blindinv.views.search import Hypotheses, Pair, Search, batches, best, descent_batches, find_pose

VIEWS = 16
STEPS = 50
REFINED = 0
"""Poses that come from a search are refined by eq. 26 below this timestep, so never: with the shipped prior, M-steps below 600
take the median error of 12 objects from 3.8 to 6.3 degrees, and the views are no better for the few bad poses that they mend."""
STEEPEST = 85
"""Degrees of elevation; straight above, azimuths mean nothing."""


@dataclass(frozen=True)
class Stage:
    """How far a reconstruction is.

    Attributes:
        name: "height" while that of the first camera is estimated, "poses" while the others are searched, then "views".
        step: batches that the prior was asked, or steps of the reverse diffusion.
        total: number of them.
    """

    name: str
    step: int
    total: int


Record = Callable[[Stage], Any]


@dataclass(frozen=True, eq=False)
class ViewsResult:
    """What `reconstruct` returns. Unless cameras were given, the first one has azimuth 0 and radius 1.8.

    Attributes:
        views: (V, 3, S, S) in [0, 1] on white.
        camera: V cameras of the views.
        inputs: n cameras of the pictures, as the search or EM left them (or as given).
        hypotheses: n - 1 rankings of poses of the second and later pictures, from the search; empty where poses
            were given.
        elevation: how that of the first camera was estimated; None if it was not.
    """

    views: Tensor
    camera: Camera
    inputs: Camera
    hypotheses: list[Hypotheses]
    elevation: Elevation | None = None

    @property
    def warnings(self) -> list[tuple[int, str]]:
        """Index of the picture and one line for each pose that is ambiguous."""
        lines = ((i + 1, h.warning()) for i, h in enumerate(self.hypotheses))
        return [(i, line) for i, line in lines if line is not None]


def around(first: Camera, count: int = VIEWS) -> Camera:
    """Cameras around the object at the height of `first`, beginning there."""
    polar, azimuth, radius = first.pose[0].tolist()
    height = max(-STEEPEST, min(STEEPEST, 90 - math.degrees(polar)))
    return _like(orbit(count, height, radius, math.degrees(azimuth)), first.polar)


def reconstruct(
    y: Tensor,
    *,
    prior: ViewPrior | None = None,
    elevation: float | None = None,
    cameras: Camera | None = None,
    targets: Camera | Callable[[Camera], Camera] = around,
    search: Search = Search(),  # noqa: B008 (a frozen value)
    steps: int = STEPS,
    guidance: float | None = None,
    two_chains: bool = False,
    every: int = 1,
    below: int = REFINED,
    chunk: int = 32,
    seed: int = 0,
    record: Record | None = None,
) -> ViewsResult:
    """Novel views of an object from n pictures of it, and the cameras that took them (LatentDEM, section 4.3 and algorithm 2).

    Poses are searched first (`find_pose`), then views are made with them (`posefree`), by EM where `below` is not 0. One picture
    is plain sampling of the prior.

    Args:
        y: (n, 3, S, S) pictures in [0, 1] on white, the object in the middle; or (n, 4, S, S) with alpha, not premultiplied.
        prior: of views; None: the shipped one.
        elevation: of the first camera in degrees. None: estimated (`find_height`) from two pictures or more, if the prior knows
            up from down; otherwise 20.
        cameras: n cameras, if they are known: nothing is estimated, and `elevation` is not used.
        targets: the cameras that are wanted, or a function that makes them of the first one. By default, 16 around the object at
            the height of the first.
        search: how hard to look for the poses.
        steps: of the reverse diffusion.
        guidance: of classifier-free guidance; None: the prior's own.
        two_chains: algorithm 2's form of the E-step instead of eq. 25's.
        every: one M-step in so many steps.
        below: M-steps at smaller timesteps only; 1000 is the paper's EM.
        chunk: evaluations of the prior at a time, which bounds memory.
        seed: of all random numbers.
        record: called at every step.

    Raises:
        ValueError: shapes that do not belong together, or there is no shipped prior.
    """
    _check(y, cameras)
    if prior is None:
        from blindinv.zoo.views import load_view_prior

        prior = load_view_prior("objects", device=y.device)
    say = record or (lambda stage: None)
    y = on_white(y) if y.shape[1] == 4 else y
    given = None if cameras is None else _like(cameras, y)
    height = _height(y, prior, chunk, seed, say) if elevation is None and given is None else None
    if elevation is None:
        elevation = USUAL if height is None else height.degrees
    first = _like(Camera.degrees([elevation], [0.0]), y) if given is None else given[:1]
    wanted = _like(targets(first) if callable(targets) else targets, y)
    found = _search(y, prior, first, replace(search, chunk=chunk), seed, say) if given is None else []
    steps_of = posefree(
        y[None],
        prior,
        wanted.relative_to(first),
        best(found, y) if given is None else given[1:].relative_to(first)[None],
        polar=first.polar[0],
        known=given is not None,
        guidance=prior.guidance if guidance is None else guidance,
        two_chains=two_chains,
        steps=steps,
        every=every,
        below=below,
        chunk=chunk,
        rng=generators(seed, 1, y.device),
    )
    *_, last = _heard(steps_of, say)
    inputs = Camera.of(torch.cat([first.pose, first.moved(last.phi[0]).pose]))
    return ViewsResult(last.x[0].clamp(0, 1), wanted, inputs, found, height)


def _like(camera: Camera, y: Tensor) -> Camera:
    """On the device and of the type of `y`."""
    return Camera.of(camera.pose.to(y), camera.fov)


def _check(y: Tensor, cameras: Camera | None) -> None:
    if y.ndim != 4 or y.shape[1] not in (3, 4) or y.shape[2] != y.shape[3] or not len(y):
        raise ValueError(f"y must be (n, 3, S, S) or (n, 4, S, S) with n >= 1, got {tuple(y.shape)}")
    if cameras is not None and len(cameras) != len(y):
        raise ValueError(f"{len(cameras)} cameras do not go with {len(y)} pictures")


def _heard(steps: Iterator[Progress], say: Record) -> Iterator[Any]:
    for p in steps:
        say(Stage("views", p.step, p.total))
        yield p


def _height(y: Tensor, prior: ViewPrior, chunk: int, seed: int, say: Record) -> Elevation | None:
    """That of the first camera, from the first two pictures; None where they cannot tell."""
    if len(y) < 2:
        return None
    pair = Pair.of(prior, y[:2], horizon(1, y)[0], chunk)
    if not knows_up(pair):
        return None
    total = height_evaluations(COARSE, chunk)
    counted: Any = _Counted(prior, lambda count: say(Stage("height", count, total)))
    return find_height(replace(pair, prior=counted), seed=seed)


def _search(y: Tensor, prior: ViewPrior, first: Camera, search: Search, seed: int, say: Record) -> list[Hypotheses]:
    """Poses of all pictures but the first, each on its own; the same as `find_poses`, with a word after every evaluation."""
    total = (len(y) - 1) * evaluations(search)
    counted: Any = _Counted(prior, lambda count: say(Stage("poses", count, total)))
    pairs = (Pair.of(counted, y[[0, j]], first.polar[0], search.chunk) for j in range(1, len(y)))
    return [find_pose(pair, search, seed + i) for i, pair in enumerate(pairs)]


def evaluations(search: Search) -> int:
    """Batches that the prior is asked for one pose."""
    compared = batches(len(search.probes()), search.chunk) + batches(search.keep, search.chunk)
    return search.draws * len(search.levels) * compared + descent_batches(search, search.chunk)


class _Counted:
    """A view prior that says how often it was asked."""

    def __init__(self, prior: ViewPrior, say: Callable[[int], Any]) -> None:
        self._prior, self._say, self._count = prior, say, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prior, name)

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        """As the prior's."""
        self._count += 1
        self._say(self._count)
        return self._prior.eps(z, t, cond, pose, guidance)
