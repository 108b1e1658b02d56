"""The rows of `blindinv bench mesh`: functions of an object and a context -> a mesh."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindinv.benchmark.mesh_cases import FLOOR_SIZE, Solid
from blindinv.benchmark.views_cases import ViewCase
from blindinv.benchmark.views_rows import Clock, ViewContext, Views, found_poses, true_poses
from blindinv.views.camera import Camera
from blindinv.views.mesh import Mesh
from blindinv.views.render import render
from blindinv.views.rings import rings
from blindinv.views.surface import Fit, fit_surface


@dataclass
class MeshContext:
    """What rows share.

    Args:
        views: prior and settings of novel views; None: only rows that need no prior are run.
        count: novel views of an object.
        device: of the fit, and of the prior.
        seed: of all random numbers.
    """

    views: ViewContext | None = None
    count: int = 16
    device: str = "cpu"
    seed: int = 0
    _case: dict[str, ViewCase] = field(default_factory=dict)

    def case(self, solid: Solid) -> ViewCase:
        """Pictures and cameras of an object; those of one object are kept."""
        if solid.name not in self._case:
            size = FLOOR_SIZE if self.views is None else self.views.prior.size
            self._case.clear()
            self._case[solid.name] = solid.case(size, self.count, self.seed)
        return self._case[solid.name]


@dataclass(frozen=True, eq=False)
class Made:
    """What a row says.

    Attributes:
        mesh: None where the views show no object.
        poses: (n - 1, 3) that were estimated; None where none were.
        clock: time that it took, search and novel views included.
        fit: time of the fit and the mesh.
    """

    mesh: Mesh | None
    poses: Tensor | None
    clock: Clock
    fit: Clock


MeshRow = Callable[[Solid, MeshContext], Made]


@dataclass(frozen=True)
class TrueViews:
    """The fit alone, from true views with true masks.

    Args:
        count: of them.
        fit: its settings.
        size: of the views, pixels.
    """

    count: int
    fit: Fit = Fit()  # noqa: RUF009 (a frozen value)
    size: int = FLOOR_SIZE

    def __call__(self, solid: Solid, context: MeshContext) -> Made:
        """The mesh."""
        camera = rings(self.count)
        pictures = render(solid.triangles, camera, self.size)
        return fitted(pictures[:, :3], camera, pictures[:, 3:], self.fit, context)


@dataclass(frozen=True)
class FromPictures:
    """The whole way: novel views by `posefree` from pictures whose poses are found, then the fit.

    Args:
        views: the row of `blindinv bench views` that makes the views.
        fit: settings.
    """

    views: Views
    fit: Fit = Fit.diffused()  # noqa: RUF009 (a frozen value)

    def __call__(self, solid: Solid, context: MeshContext) -> Made:
        """The mesh.

        Raises:
            ValueError: the context has no prior.
        """
        if context.views is None:
            raise ValueError("meshes from pictures need a view prior")
        case = context.case(solid)
        answer = self.views(case.to(context.device), context.views)
        made = fitted(answer.novel, case.wanted, None, self.fit, context)
        clock = Clock(answer.clock.wall + made.fit.wall, answer.clock.cpu + made.fit.cpu)
        return Made(made.mesh, answer.poses, clock, made.fit)


def fitted(views: Tensor, camera: Camera, masks: Tensor | None, settings: Fit, context: MeshContext) -> Made:
    """The mesh of views (V, 3, S, S), on the context's device."""
    device, clock = torch.device(context.device), Clock()
    camera = Camera.of(camera.pose.to(device), camera.fov)
    masks = None if masks is None else masks.to(device)
    with clock.running():
        try:
            *_, last = fit_surface(views.to(device), camera, masks, settings, context.seed)
            mesh = last.surface.mesh() if last.surface is not None else None
        except ValueError:  # the views are white, or no surface is left
            mesh = None
    return Made(mesh, None, clock, clock)


def from_pictures(count: int) -> dict[str, MeshRow]:
    """The rows of `count` pictures: the method, and with known poses if there are any to know."""
    name = {1: "one-view", 2: "two-views", 3: "three-views"}[count]
    if count == 1:
        return {name: FromPictures(Views(1, true_poses, known=True))}
    known = FromPictures(Views(count, true_poses, known=True))
    return {name: FromPictures(Views(count, found_poses)), f"{name.split('-')[0]}-known": known}


FLOOR: dict[str, MeshRow] = {"true-36": TrueViews(36), "true-16": TrueViews(16)}
"""What is left when views and cameras are right."""
COUNTS = (1, 2, 3)
"""Pictures that an object may be given by."""


def mesh_rows(counts: tuple[int, ...]) -> dict[str, MeshRow]:
    """The rows of these numbers of pictures, after those from true views."""
    rows = dict(FLOOR)
    for count in counts:
        rows |= from_pictures(count)
    return rows
