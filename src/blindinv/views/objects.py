"""Procedural objects: coloured, lopsided heaps of simple closed parts, made in milliseconds, for training and tests."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import torch
import trimesh
from numpy.random import Generator
from torch import Tensor
from trimesh.intersections import slice_faces_plane

from blindinv.views.camera import orbit
from blindinv.views.render import EXTENT, on_white, render

Family = Literal["blocks", "tilted"]
"""blocks: upright bodies with upright or horizontal parts; tilted: everything turned anyhow, other proportions."""

TRAINING, VALIDATION, BENCHMARK = 0, 10_000_000, 20_000_000
"""First seeds of objects to train on, to look at while training, and to report on."""

ALIKE = 0.05
"""Two views of an object are alike when their root mean square difference is below this."""


@cache
def _unit(kind: str) -> trimesh.Trimesh:
    """A closed part that fills [-1, 1]^3, with its axis along z where it has one."""
    make: dict[str, Callable[[], trimesh.Trimesh]] = {
        "box": lambda: trimesh.creation.box((2, 2, 2)),
        "ellipsoid": lambda: trimesh.creation.icosphere(3),
        "cylinder": lambda: trimesh.creation.cylinder(1, 2, sections=48),
        "cone": lambda: trimesh.creation.cone(1, 2, sections=48),
        "torus": lambda: trimesh.creation.torus(0.7, 0.3, major_sections=40, minor_sections=16),
        "capsule": lambda: trimesh.creation.capsule(2, 1, count=(32, 16)),
    }
    mesh = make[kind]()
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    vertices = (mesh.vertices - (low + high) / 2) / ((high - low) / 2)
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


@cache
def _halved(kind: str, axis: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices and faces of a part, cut in the middle across an axis, and which faces (F,) are on the negative side."""
    unit = _unit(kind)
    if axis is None:
        return unit.vertices, unit.faces, np.zeros(len(unit.faces), int)
    normal, zero = np.eye(3)[axis], np.zeros(3)
    (a, f), (b, g) = (slice_faces_plane(unit.vertices, unit.faces, s * normal, zero)[:2] for s in (1, -1))
    return np.concatenate([a, b]), np.concatenate([f, g + len(a)]), np.repeat([0, 1], [len(f), len(g)])


@dataclass(frozen=True, eq=False)
class Thing:
    """A union of closed parts, within a sphere of radius `EXTENT` around the origin; z is up.

    Args:
        parts: watertight meshes with colours of faces; they may overlap.
    """

    parts: tuple[trimesh.Trimesh, ...]

    @classmethod
    def random(cls, seed: int, family: Family = "blocks") -> "Thing":
        """The object of a seed: always the same one, and different from every side.

        Raises:
            ImportError: embreex is not installed.
        """
        rng = np.random.default_rng(seed)
        make = {"blocks": _blocks, "tilted": _tilted}[family]
        while True:
            thing = cls(tuple(make(rng))).normalised()
            if thing.lopsided():
                return thing

    @cached_property
    def mesh(self) -> trimesh.Trimesh:
        """All parts in one mesh, inner faces included."""
        offsets = np.cumsum([0, *(len(p.vertices) for p in self.parts[:-1])])
        faces = np.concatenate([p.faces + o for p, o in zip(self.parts, offsets, strict=True)])
        vertices = np.concatenate([p.vertices for p in self.parts])
        colour = np.concatenate([colours_of(p) for p in self.parts])
        return trimesh.Trimesh(vertices, faces, face_colors=colour, process=False)

    def normalised(self, extent: float = EXTENT) -> "Thing":
        """The bounding box centred at the origin, the farthest point at `extent`."""
        low, high = self.mesh.bounds
        middle = (low + high) / 2
        scale = extent / np.linalg.norm(self.mesh.vertices - middle, axis=1).max()
        return Thing(tuple(_coloured((p.vertices - middle) * scale, p.faces, colours_of(p)) for p in self.parts))

    def pictures(self, count: int = 8, size: int = 32) -> Tensor:
        """(count, 3, size, size): from around, a little above."""
        return on_white(render(self, orbit(count, 15.0), size, 1))

    def lopsided(self, count: int = 8) -> bool:
        """Whether no two of some views from around, 45 degrees or more apart, are alike."""
        flat = self.pictures(count).flatten(1)
        apart = torch.cdist(flat, flat) / flat.shape[1] ** 0.5 + torch.eye(count)
        return bool(apart.min() >= ALIKE)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (N, 3) are inside, (N,): exact for the faceted parts."""
        inside = np.zeros(len(points), bool)
        for part in self.parts:
            rest = np.flatnonzero(~inside)
            inside[rest] = within(part, points[rest])
        return inside

    def surface(self, count: int, rng: Generator) -> np.ndarray:
        """(count, 3) points spread evenly over the outer surface of the union."""
        area = np.array([p.area for p in self.parts])
        found: list[np.ndarray] = []
        while sum(map(len, found)) < count:
            for i, share in enumerate(rng.multinomial(2 * count, area / area.sum())):
                points = np.asarray(trimesh.sample.sample_surface(self.parts[i], share, seed=rng)[0])
                for other in (p for j, p in enumerate(self.parts) if j != i):
                    points = points[~within(other, points)]
                found.append(points)
        return rng.permutation(np.concatenate(found))[:count]


def within(part: trimesh.Trimesh, points: np.ndarray, chunk: int = 4096) -> np.ndarray:
    """Which points (N, 3) are inside a closed part, (N,): on the inner side of all faces if it is convex, else by rays."""
    normal, at = part.face_normals, part.triangles[:, 0]
    offset = (normal * at).sum(1)
    inside = ((points > part.bounds[0]) & (points < part.bounds[1])).all(1)
    near = np.flatnonzero(inside)
    if np.all(part.vertices @ normal.T <= offset + 1e-6):
        for i in range(0, len(near), chunk):
            piece = near[i : i + chunk]
            inside[piece] = (points[piece] @ normal.T < offset).all(1)
    elif len(near):
        inside[near] = part.contains(points[near])
    return inside


def colours_of(part: trimesh.Trimesh) -> np.ndarray:
    """(F, 4) uint8: the colours of its faces."""
    visual: Any = part.visual
    return visual.face_colors


def _coloured(vertices: np.ndarray, faces: np.ndarray, colour: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, faces, face_colors=colour, process=False)


def _part(kind: str, half: np.ndarray, turn: np.ndarray, at: np.ndarray, paint: np.ndarray, split: int | None) -> trimesh.Trimesh:
    """A part: half its sizes, its rotation (3, 3), its centre, two colours (2, 3), and the own axis that divides them."""
    vertices, faces, second = _halved(kind, split)
    colour = np.concatenate([(paint[second] * 255).round(), np.full((len(faces), 1), 255)], 1).astype(np.uint8)
    return _coloured(vertices * half @ turn.T + at, faces, colour)


def _paints(rng: Generator, count: int) -> list[np.ndarray]:
    """(2, 3) for each of `count` parts: strong colours with hues spread evenly, and a lighter or darker one of the same hue."""
    hues = rng.permutation((rng.random() + np.arange(count) / count) % 1)
    paints = []
    for hue in hues:
        first = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.75, 1), rng.uniform(0.7, 1)))
        paints.append(np.stack([first, 0.4 * first if rng.random() < 0.6 else 0.4 * first + 0.6]))
    return paints


def _ray(kind: str, half: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Where a ray from the centre of an upright part leaves it."""
    scaled = np.abs(direction / half)
    reach = {"box": scaled.max(), "ellipsoid": np.linalg.norm(scaled)}.get(kind, max(np.linalg.norm(scaled[:2]), scaled[2]))
    return direction / reach


def _towards(direction: np.ndarray) -> np.ndarray:
    """A rotation (3, 3) that takes z to a unit direction."""
    side = np.cross(direction, [0.0, 0, 1] if abs(direction[2]) < 0.9 else [1.0, 0, 0])
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(direction, side), direction], 1)


def _blocks(rng: Generator) -> list[trimesh.Trimesh]:
    count = int(rng.integers(2, 5))
    paints = _paints(rng, count + 1)
    kind = str(rng.choice(["box", "ellipsoid", "cylinder"]))
    half = rng.uniform([0.3, 0.3, 0.35], [0.5, 0.5, 0.6])
    split = int(rng.choice([0, 1, 2])) if rng.random() < 0.6 else None
    parts = [_part(kind, half, np.eye(3), np.zeros(3), paints[0], split)]
    start = rng.uniform(0, 2 * np.pi)
    for i in range(count):
        around = start + 2 * np.pi * (i + rng.uniform(-0.3, 0.3)) / count
        up = rng.uniform(-0.6, 0.6) if i else rng.uniform(1.2, 1.5)
        direction = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
        outward = np.array([np.cos(around), np.sin(around), 0]) if i else np.array([0.0, 0, 1])
        turn = _towards(outward) if rng.random() < 0.6 else _towards(np.array([np.sin(around), -np.cos(around), 0])).round(9)
        shape = str(rng.choice(["box", "ellipsoid", "capsule", "cone", "cylinder", "torus"]))
        size = rng.uniform([0.17, 0.17, 0.17], [0.26, 0.26, 0.34])
        at = _ray(kind, half, direction) + outward * size.min() * rng.uniform(0.2, 0.7)
        parts.append(_part(shape, size, turn, at, paints[i + 1], 2 if rng.random() < 0.4 else None))
    return parts


def _tilted(rng: Generator) -> list[trimesh.Trimesh]:
    count = int(rng.integers(3, 6))
    paints = _paints(rng, count + 1)
    kind = str(rng.choice(["box", "ellipsoid", "cylinder", "capsule", "torus"]))
    half, lean = rng.uniform(0.2, 0.6, 3), _rotation(rng)
    parts = [_part(kind, half, lean, np.zeros(3), paints[0], int(rng.integers(3)))]
    for i in range(count):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        shape = str(rng.choice(["box", "ellipsoid", "capsule", "cone", "cylinder", "torus"]))
        at = lean @ _ray("ellipsoid", half, direction)
        parts.append(
            _part(shape, rng.uniform(0.1, 0.35, 3), _rotation(rng), at, paints[i + 1], 2 if rng.random() < 0.4 else None)
        )
    return parts


def _rotation(rng: Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.linalg.det(q)
