"""Triangles with colours: made from a signed distance grid, written for other programs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from blindinv.training.loop import write_atomically

SUFFIXES = (".glb", ".obj", ".ply")


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles whose normals point outwards.

    Attributes:
        vertices: (N, 3) in the world of `views.camera`, z up.
        faces: (M, 3) indices of vertices.
        colours: (N, 3) in [0, 1], as in the pictures (sRGB).
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    colours: NDArray[np.float32]

    @property
    def watertight(self) -> bool:
        """Whether every edge belongs to two triangles."""
        edges = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
        return bool(len(edges)) and bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())

    @property
    def volume(self) -> float:
        """Enclosed, by the divergence theorem; negative if normals point inwards."""
        a, b, c = (self.vertices[self.faces[:, i]].astype(np.float64) for i in range(3))
        return float((np.cross(a, b) * c).sum() / 6)

    def largest(self) -> "Mesh":
        """The connected part with the largest area."""
        n = len(self.vertices)
        pairs = self.faces[:, [0, 1, 1, 2]].reshape(-1, 2).T
        _, part = connected_components(coo_matrix((np.ones(pairs.shape[1]), pairs), (n, n)), directed=False)
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        area = np.bincount(part[self.faces[:, 0]], np.linalg.norm(np.cross(b - a, c - a), axis=1))
        kept = part == area.argmax()
        index = kept.cumsum() - 1
        return Mesh(self.vertices[kept], index[self.faces[kept[self.faces[:, 0]]]], self.colours[kept])

    def clustered(self, cells: int) -> "Mesh":
        """Fewer triangles: vertices in one cell of a grid with `cells` along the longest side become their mean."""
        low = self.vertices.min(0)
        at = np.floor((self.vertices - low) / max(float(np.ptp(self.vertices, 0).max()), 1e-9) * (cells - 1e-3)).astype(np.int64)
        _, index, count = np.unique(at, axis=0, return_inverse=True, return_counts=True)
        index = index.reshape(-1)
        means = [
            np.stack([np.bincount(index, column) / count for column in of.T], 1).astype(np.float32)
            for of in (self.vertices, self.colours)
        ]
        faces = index[self.faces]
        whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
        return Mesh(means[0], faces[whole], means[1])

    def encoded(self, suffix: str) -> bytes:
        """A file of this kind.

        GLB is y up and has linear colours, as glTF asks, on a material that needs no light: that of the pictures is in
        the colours. OBJ and PLY keep the world's axes, z up.

        Raises:
            ValueError: not .glb, .obj or .ply.
        """
        if suffix.lower() not in SUFFIXES:
            raise ValueError(f"meshes are written as {', '.join(SUFFIXES)}, not '{suffix}'")
        if suffix.lower() == ".glb":
            x, y, z = self.vertices.T
            turned = replace(self, vertices=np.stack([x, z, -y], 1), colours=linear(self.colours))
            data: Any = turned.trimesh().export(file_type="glb", tree_postprocessor=_unlit)
        else:
            data = self.trimesh().export(file_type=suffix.lower()[1:])
        return data.encode() if isinstance(data, str) else bytes(data)

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all; its suffix says of which kind. Raises as `encoded`."""
        data = self.encoded(path.suffix)
        write_atomically(path, lambda p: p.write_bytes(data))

    def trimesh(self) -> trimesh.Trimesh:
        """As trimesh has it."""
        colours = (self.colours.clip(0, 1) * 255).round().astype(np.uint8)
        return trimesh.Trimesh(self.vertices, self.faces, vertex_colors=colours, process=False)


def linear(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light from sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clip(0, 1) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _unlit(tree: dict[str, Any]) -> None:
    """Give every triangle of a glTF file a matt material of the extension KHR_materials_unlit."""
    rough = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    tree["materials"] = [{"pbrMetallicRoughness": rough, "extensions": {"KHR_materials_unlit": {}}}]
    tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def marched(sdf: NDArray[np.float32], extent: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vertices and faces of the zero level of a signed distance grid (R, R, R) on [-extent, extent]^3, closed at its border.

    Raises:
        ValueError: there is no surface.
    """
    step = 2 * extent / (len(sdf) - 1)
    closed = np.pad(sdf, 1, constant_values=max(float(sdf.max()), step))
    if closed.min() >= 0:
        raise ValueError("the views show no object: there is no surface to make a mesh of")
    vertices, faces, _, _ = marching_cubes(closed, 0.0, gradient_direction="descent")
    at = ((vertices - 1) * step - extent).clip(-extent, extent)
    return at.astype(np.float32), faces.astype(np.int64)
