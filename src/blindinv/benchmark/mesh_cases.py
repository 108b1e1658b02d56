"""What `blindinv bench mesh` asks: objects whose surface is known, and how near a mesh comes to it.

Procedural objects are those of `blindinv bench views`, and so are the cameras of their pictures. Meshes of files, which may
be open and have no colours, are normalised in the same way and painted by place. Lengths are reported in diameters of the
sphere that objects are scaled to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from blindinv.benchmark.views_cases import ViewCase, input_cameras
from blindinv.views.camera import Camera
from blindinv.views.mesh import Mesh
from blindinv.views.objects import BENCHMARK, Thing, within
from blindinv.views.render import EXTENT, SUFFIXES, Triangles, load_mesh, render
from blindinv.views.rings import rings

DIAMETER, NEAR = 2 * EXTENT, 0.02
"""The unit of lengths, and how near a point must be to count as found, in it."""
POINTS, VOLUME = 10_000, 40_000
"""Drawn on a surface, and in the cube around it."""
FLOOR_SIZE = 64
"""Pixels of the true views that show what the fit alone can do."""
FILES = 1000
"""Index of the first mesh of a file."""

Figures = dict[str, float]
Points = np.ndarray


@dataclass(frozen=True, eq=False)
class Solid:
    """An object of the benchmark.

    Attributes:
        name: unique.
        index: of its cameras.
        thing: what is drawn.
        surface: (count, generator) -> points (count, 3) spread evenly over its outside.
        contains: points (N, 3) -> which are inside, (N,); None where that has no meaning, for open meshes.
    """

    name: str
    index: int
    thing: trimesh.Trimesh
    surface: Callable[[int, np.random.Generator], Points]
    contains: Callable[[Points], np.ndarray] | None

    @cached_property
    def triangles(self) -> Triangles:
        """What is drawn, ready for many pictures."""
        return Triangles.of(self.thing)

    @cached_property
    def points(self) -> Points:
        """(POINTS, 3) on its outside."""
        return self.surface(POINTS, np.random.default_rng(BENCHMARK + self.index))

    def case(self, size: int, views: int, seed: int = 0) -> ViewCase:
        """Three pictures, as `blindinv bench views` takes them, and `views` cameras around, whose pictures are wanted."""
        camera = input_cameras(self.index, seed)
        wanted = rings(views, start=float(torch.rad2deg(camera.azimuth[0])))
        pictures = render(self.triangles, Camera.of(torch.cat([camera.pose, wanted.pose])), size)
        return ViewCase(self.name, self.index, pictures[:3, :3], pictures[3:], camera, wanted)


def procedural(index: int) -> Solid:
    """Object `index` of the family that priors are trained on, which none was trained on.

    Raises:
        ImportError: embreex is not installed.
    """
    thing = Thing.random(BENCHMARK + index)
    return Solid(f"blocks-{index:03d}", index, thing.mesh, thing.surface, thing.contains)


def of_file(path: Path, index: int) -> Solid:
    """A mesh of a file.

    Raises:
        ValueError: not a mesh.
    """
    mesh = load_mesh(path)
    closed = mesh.copy()
    closed.merge_vertices(merge_tex=True, merge_norm=True)

    def surface(count: int, rng: np.random.Generator) -> Points:
        return np.asarray(trimesh.sample.sample_surface(mesh, count, seed=rng)[0])

    return Solid(path.stem, index, mesh, surface, (lambda points: within(closed, points)) if closed.is_watertight else None)


def solids(limit: int, meshes: Path | None) -> list[Solid]:
    """`limit` procedural objects, then every mesh of a folder.

    Raises:
        ValueError: there is no such folder, or there are no meshes in it.
    """
    files = [] if meshes is None else sorted(p for p in meshes.glob("*") if p.suffix.lower() in SUFFIXES)
    if meshes is not None and not files:
        raise ValueError(f"--meshes {meshes}: no folder with {', '.join(SUFFIXES)}")
    return [procedural(i) for i in range(limit)] + [of_file(path, FILES + i) for i, path in enumerate(files)]


def score_mesh(mesh: Mesh | None, solid: Solid) -> Figures:
    """How near a mesh is to the truth, in the frame that it was asked in; no mesh at all has F and IoU 0, and no distance.

    chamfer: mean distance from each surface to the other one, the mean of both, in diameters, between `POINTS` points each.
    f: harmonic mean of the shares of points of either surface with the other one within `NEAR`.
    iou: volume of the intersection over that of the union, where the truth is closed.
    watertight: 1 or 0.
    """
    if mesh is None:
        return {"f": 0.0, "watertight": 0.0, "missing": 1.0} | ({"iou": 0.0} if solid.contains else {})
    made = mesh.trimesh()
    points = np.asarray(trimesh.sample.sample_surface(made, POINTS, seed=0)[0])
    figures = distances(points, solid.points) | {"watertight": float(mesh.watertight), "missing": 0.0}
    if solid.contains is not None:
        at = (np.random.default_rng(0).random((VOLUME, 3)) * 2 - 1) * EXTENT
        a, b = within(made, at), solid.contains(at)
        figures["iou"] = float((a & b).sum() / max(1, (a | b).sum()))
    return figures


def distances(found: Points, truth: Points) -> Figures:
    """Chamfer distance and F between points (N, 3) and (M, 3) of two surfaces; see `score_mesh`."""
    out, back = cKDTree(truth).query(found)[0] / DIAMETER, cKDTree(found).query(truth)[0] / DIAMETER
    precision, recall = float((out <= NEAR).mean()), float((back <= NEAR).mean())
    f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"chamfer": float(out.mean() + back.mean()) / 2, "f": f, "precision": precision, "recall": recall}
