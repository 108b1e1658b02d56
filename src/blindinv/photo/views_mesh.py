"""From pictures of one object to a mesh in a folder."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blindinv.photo.errors import PhotoError, first_line
from blindinv.photo.results import write_folder
from blindinv.photo.views import FILES, Clock, ViewsJob, find_views, views_report, write_views
from blindinv.photo.views_run import Record
from blindinv.photo.views_settings import MESH_FORMATS, ViewsSettings
from blindinv.priors.view import ViewPrior, horizon
from blindinv.views.camera import Camera
from blindinv.views.elevation import find_elevation
from blindinv.views.heights import knows_up, tilted
from blindinv.views.inputs import on_white
from blindinv.views.mesh import Mesh
from blindinv.views.reconstruct import Stage, ViewsResult, around
from blindinv.views.search import Pair
from blindinv.views.surface import Fit, Surface, fit_surface
from blindinv.views.viewer import write_viewer

MESH_FILES = FILES | {"viewer.html"} | {f"object.{name}" for name in MESH_FORMATS}
FRAMES = 24
FRAME = 96
"""Pixels of the turntable's frames."""
DRAFT = 32
"""Nodes below which a fit is short."""


@dataclass(frozen=True)
class MeshSettings:
    """What is asked of the mesh.

    Attributes:
        formats: suffixes of the files.
        detail: nodes along a side of the finest grid, or None: those of the fit's own choice.
    """

    formats: tuple[str, ...] = ("glb",)
    detail: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.detail is not None and not 8 <= self.detail <= 256:
            raise PhotoError(f"--detail {self.detail}: give 8 to 256; memory and time grow with its third power")

    def fit(self) -> Fit:
        """Levels from coarse to fine, each up to twice as fine as the one before."""
        own = Fit.diffused()
        if self.detail is None:
            return own
        if self.detail < DRAFT:
            return replace(own, resolutions=(self.detail,), iterations=(60,), rates=own.rates[:1])
        levels = [DRAFT]
        while levels[-1] < self.detail:
            levels.append(min(2 * levels[-1], self.detail))
        iterations = (own.iterations[0], *[own.iterations[-1]] * (len(levels) - 1))
        rates = tuple(own.rates[0] / 2**i for i in range(len(levels)))
        return replace(own, resolutions=tuple(levels), iterations=iterations, rates=rates)


def make_mesh(
    job: ViewsJob, settings: ViewsSettings, wanted: MeshSettings, prior: ViewPrior, folder: Path, record: Record | None = None
) -> dict[str, Any]:
    """Find views and cameras, fit a surface to the views, and write all of it at once.

    Args:
        job: what `prepare_views` made.
        settings: of the run.
        wanted: of the mesh.
        prior: what `view_prior_for` loaded.
        folder: appears complete or not at all; earlier results there are replaced.
        record: called after every step.

    Returns:
        the report.

    Raises:
        PhotoError: the prior cannot be used this way, the views show nothing, or the folder cannot be written.
    """
    clock = Clock()
    found, rgba = find_views(job, settings, prior, record)
    clock.done("views")
    try:
        if settings.elevation is None and found.elevation is None and not settings.poses and not up_is_known(prior, rgba):
            found = levelled(found, settings.seed, record)
            clock.done("elevation")
        surface = surface_of(found, wanted.fit(), settings.seed, record)
        mesh = surface.mesh()
    except ValueError as error:
        raise PhotoError(first_line(error)) from error
    clock.done("surface")
    turning = turntable(surface, found.inputs[:1])
    clock.done("turntable")
    facts = views_report(job, settings, prior, found, clock.parts)
    facts["mesh"] = asdict(wanted) | {
        "fit": asdict(wanted.fit()),
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "watertight": mesh.watertight,
    }

    def results(new: Path) -> None:
        write_views(new, job, found, rgba, turning, mesh=True)
        write_mesh(new, mesh, wanted.formats)

    write_folder(folder, results, facts)
    return facts


def up_is_known(prior: ViewPrior, rgba: Tensor) -> bool:
    """Whether the prior made its views for the elevation that it was told, and not for any."""
    y = on_white(rgba[:1]).to(next(iter(prior.parameters())).device) if isinstance(prior, nn.Module) else on_white(rgba[:1])
    return knows_up(Pair.of(prior, y[[0, 0]], horizon(1, y)[0]))


def levelled(found: ViewsResult, seed: int, record: Record | None = None) -> ViewsResult:
    """With the elevation of the first camera at which the views fit one object best, if that is clear. The views stay.

    Raises:
        ValueError: the views show nothing.
    """
    now = 90 - math.degrees(float(found.inputs.polar[0]))
    best = find_elevation(
        lambda degrees: (found.views, tilted(found.camera, degrees - now)),
        seed=seed,
        record=lambda p: None if record is None else record(Stage("elevation", p.step, p.total)),
    )
    if not best.clear:
        return replace(found, elevation=replace(best, degrees=now))
    turn = best.degrees - now
    return replace(found, camera=tilted(found.camera, turn), inputs=tilted(found.inputs, turn), elevation=best)


def surface_of(found: ViewsResult, fit: Fit, seed: int, record: Record | None = None) -> Surface:
    """The surface that the novel views show.

    Raises:
        ValueError: they show none.
    """
    surface = None
    for p in fit_surface(found.views, found.camera, settings=fit, seed=seed):
        surface = p.surface
        if record is not None:
            record(Stage("surface", p.step, p.total))
    assert surface is not None
    return surface


def turntable(surface: Surface, first: Camera) -> Tensor:
    """(F, 3, S, S): the surface from all around, at the height of the first camera."""
    return surface.render(around(first, FRAMES), FRAME).cpu()


def write_mesh(folder: Path, mesh: Mesh, formats: tuple[str, ...]) -> None:
    """object.glb and the like, and viewer.html."""
    for name in formats:
        mesh.write(folder / f"object.{name}")
    write_viewer(mesh, folder / "viewer.html")
