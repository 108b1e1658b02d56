"""Pictures of triangle meshes on a CPU: rays of `Camera.rays` traced by Embree, a fixed light, white ground.

Colour where a ray hits: albedo x (0.4 + 0.6 (1 + n . l) / 2), n the side's normal towards the camera, l a direction that is
fixed in the world. So no side is black, and the shading belongs to the object and not to the camera.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from torch import Tensor

from blindinv.views.camera import Camera

EXTENT = 0.65
"""Radius of the sphere around the origin that objects are scaled to; at radii of 1.7 to 2.0 it fits the picture."""
LIGHT = (0.48, 0.36, 0.8)
"""Unit vector towards the light."""
AMBIENT = 0.4
SUFFIXES = (".glb", ".obj", ".off", ".ply", ".stl")


class HasMesh(Protocol):
    """An object that is a mesh."""

    @property
    def mesh(self) -> trimesh.Trimesh:
        """With colours of faces or vertices."""
        ...


@dataclass(frozen=True, eq=False)
class Triangles:
    """What is drawn: F triangles with shaded colours at their corners.

    Args:
        corners: (F, 3, 3) in the world.
        colour: (F, 3, 3), a colour in [0, 1] for each corner.
        normal: (F, 3), unit; zero where a triangle has no area.
        scene: Embree's tree of them.
    """

    corners: np.ndarray
    colour: np.ndarray
    normal: np.ndarray
    scene: Any

    @classmethod
    def of(cls, thing: "trimesh.Trimesh | HasMesh") -> "Triangles":
        """From a mesh with colours of faces or vertices, or a texture; grey without.

        Raises:
            ImportError: embreex is not installed.
        """
        mesh = thing if isinstance(thing, trimesh.Trimesh) else thing.mesh
        corners = np.ascontiguousarray(mesh.vertices[mesh.faces], dtype=np.float32)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        return cls(corners, corner_colours(mesh), normal, _tree(corners))

    def trace(self, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which rays (N, 3) hit, (N,), and the shaded colours of those, (hits, 3)."""
        hit = self.scene.run(np.ascontiguousarray(origin), np.ascontiguousarray(direction), output=1)
        met = hit["primID"] >= 0
        face, u, v = hit["primID"][met], hit["u"][met, None], hit["v"][met, None]
        a, b, c = (self.colour[face, i] for i in range(3))
        normal = self.normal[face]
        away = (normal * direction[met]).sum(1, keepdims=True) > 0
        cosine = np.where(away, -normal, normal) @ np.array(LIGHT, np.float32)
        return met, ((1 - u - v) * a + u * b + v * c) * (AMBIENT + (1 - AMBIENT) * (0.5 + 0.5 * cosine[:, None]))


def _tree(corners: np.ndarray) -> Any:
    try:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh
    except ImportError as error:
        raise ImportError("pictures of meshes need embreex: pip install 'blindinv[views]'") from error
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, corners)
    return scene


def corner_colours(mesh: trimesh.Trimesh) -> np.ndarray:
    """(F, 3, 3) in [0, 1], float32: a colour for each corner of each face; grey where the mesh has none."""
    visual: Any = mesh.visual
    if visual.kind == "texture":
        visual = visual.to_color()
    if visual.kind == "face":
        return np.repeat(visual.face_colors[:, None, :3], 3, 1).astype(np.float32) / 255
    if visual.kind == "vertex":
        return visual.vertex_colors[mesh.faces][..., :3].astype(np.float32) / 255
    return np.full((len(mesh.faces), 3, 3), 0.7, np.float32)


def render(thing: "trimesh.Trimesh | HasMesh | Triangles", camera: Camera, size: int, supersample: int = 2) -> Tensor:
    """What B cameras see: (B, 4, size, size) in [0, 1]. The first three channels are the object on white, as priors take it;
    the fourth says how much of a pixel the object covers.

    Args:
        thing: a mesh, an object that has one, or `Triangles` of it (which saves time when it is drawn again and again).
        camera: B cameras.
        size: of the pictures, pixels.
        supersample: rays per side of a pixel.

    Raises:
        ImportError: embreex is not installed.
    """
    drawn = thing if isinstance(thing, Triangles) else Triangles.of(thing)
    middle, reach = _ball(drawn.corners)
    fine, pictures = size * supersample, []
    for i in range(len(camera)):
        origin, direction = (r[0].reshape(-1, 3).float().cpu().numpy() for r in camera[i : i + 1].rays(fine))
        near = _passes(origin[0], direction, middle, reach)
        met, colour = drawn.trace(np.repeat(origin, near.sum(), 0), direction[near])
        picture = np.tile(np.array([1, 1, 1, 0], np.float32), (fine * fine, 1))
        picture[np.flatnonzero(near)[met]] = np.concatenate([colour, np.ones_like(colour[:, :1])], 1)
        pictures.append(torch.from_numpy(picture).view(fine, fine, 4).permute(2, 0, 1))
    return F.avg_pool2d(torch.stack(pictures), supersample).clamp(0, 1)


def _ball(corners: np.ndarray) -> tuple[np.ndarray, float]:
    flat = corners.reshape(-1, 3)
    middle = (flat.min(0) + flat.max(0)) / 2
    return middle, float(np.linalg.norm(flat - middle, axis=1).max()) * 1.001


def _passes(origin: np.ndarray, direction: np.ndarray, middle: np.ndarray, reach: float) -> np.ndarray:
    """Which rays come near the object at all: about half of them can be spared."""
    to = middle - origin
    along = direction @ to
    return to @ to - along**2 <= reach**2


def on_white(picture: Tensor) -> Tensor:
    """(B, 3, H, W), the object on white, of what `render` makes."""
    return picture[:, :3]


def straight(picture: Tensor) -> Tensor:
    """(B, 4, H, W) with colours that are not mixed with the ground, as PNG files hold them, of what `render` makes."""
    alpha = picture[:, 3:]
    colour = 1 - (1 - picture[:, :3]) / alpha.clamp(min=1e-3)
    return torch.cat([torch.where(alpha > 0, colour, torch.ones_like(colour)).clamp(0, 1), alpha], 1)


def normalised(mesh: trimesh.Trimesh, extent: float = EXTENT) -> trimesh.Trimesh:
    """A copy whose bounding box is centred at the origin and whose farthest point is at `extent`.

    Raises:
        ValueError: no faces, or no size.
    """
    if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise ValueError("the mesh has no faces, or has points that are not numbers")
    used = mesh.vertices[np.unique(mesh.faces)]
    middle = (used.min(0) + used.max(0)) / 2
    far = np.linalg.norm(used - middle, axis=1).max()
    if not far > 0:
        raise ValueError("the mesh is one point")
    copy = mesh.copy()
    copy.vertices = (mesh.vertices - middle) * (extent / far)
    return copy


def load_mesh(
    path: Path | str, colours: Literal["procedural", "file"] = "procedural", up: Literal["y", "z"] = "y"
) -> trimesh.Trimesh:
    """A mesh of a file in OBJ, PLY, GLB, STL or OFF, turned so that z is up, and normalised as procedural objects are.

    Args:
        path: of the file.
        colours: those of the file (texture, faces or vertices), or smooth bright ones that tell every side apart.
        up: the file's axis that points up; y in glTF and in most others.

    Raises:
        ValueError: not a file of a mesh.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is not one of {', '.join(SUFFIXES)}")
    try:
        mesh = trimesh.load(path, force="mesh", process=False)
    except (ValueError, LookupError, TypeError, NotImplementedError, OSError) as error:
        raise ValueError(f"{path} is no mesh that can be read: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh):
        raise ValueError(f"{path} holds no mesh")
    if up == "y":
        mesh.apply_transform(np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]))
    mesh = normalised(mesh)
    return painted(mesh) if colours == "procedural" else mesh


def painted(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """A copy with smooth bright colours that depend on the place: (1 + sin(W p + b)) / 2 in each channel."""
    waves = np.array([[4.1, 1.3, -2.2], [-1.7, 3.9, 2.6], [2.4, -2.9, 3.7]])
    colour = 0.5 + 0.5 * np.sin(mesh.vertices @ waves.T + np.array([0.3, 2.1, 4.4]))
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=(colour * 255).round().astype(np.uint8), process=False)
