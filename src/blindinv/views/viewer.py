"""A page that shows a mesh in a browser: one file, which asks the network for nothing."""

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from blindinv.training.loop import write_atomically
from blindinv.views.camera import FOV
from blindinv.views.mesh import Mesh

LARGEST = 60_000
"""Triangles in a page, which then has about 1 MB."""
TEMPLATE = Path(__file__).with_name("viewer.html")


def write_viewer(mesh: Mesh, path: Path, title: str = "blindinv: a mesh from pictures", largest: int = LARGEST) -> None:
    """Write the page, whole or not at all.

    Args:
        mesh: to be shown.
        path: of the page, NAME.html.
        title: of the page.
        largest: number of triangles; a mesh with more is shown with fewer (its file is not touched).

    Raises:
        ValueError: the mesh has no triangles.
    """
    page = viewer(mesh, title, largest)
    write_atomically(path, lambda p: p.write_text(page, encoding="utf-8"))


def viewer(mesh: Mesh, title: str, largest: int = LARGEST) -> str:
    """The page as text; otherwise as `write_viewer`."""
    if not len(mesh.faces):
        raise ValueError("there are no triangles to show")
    text = json.dumps(packed(reduced(mesh, largest)))
    return TEMPLATE.read_text(encoding="utf-8").replace("@TITLE@", html.escape(title)).replace("@MESH@", text)


def reduced(mesh: Mesh, largest: int) -> Mesh:
    """A mesh of at most so many triangles, clustered as little as that takes."""
    cells, small = 256, mesh
    while len(small.faces) > largest and cells > 2:
        small, cells = mesh.clustered(cells), cells * 4 // 5
    return small


def packed(mesh: Mesh) -> dict[str, Any]:
    """What the page's script reads: the box, the numbers, and in base64 positions, colours and indices.

    Little-endian: positions uint16 (N, 4), of the box, the last one 0; colours uint8 (N, 4); indices (M, 3), uint16 if all fit.
    """
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    size = np.maximum(high - low, 1e-6)
    position = np.zeros((len(mesh.vertices), 4), "<u2")
    position[:, :3] = ((mesh.vertices - low) / size * 65535).round()
    colour = np.full((len(mesh.vertices), 4), 255, np.uint8)
    colour[:, :3] = (mesh.colours.clip(0, 1) * 255).round()
    index = mesh.faces.astype("<u4" if len(mesh.vertices) > 65535 else "<u2")
    data = base64.b64encode(position.tobytes() + colour.tobytes() + index.tobytes()).decode()
    counts = {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "fov": FOV}
    return counts | {"low": [float(x) for x in low], "size": [float(x) for x in size], "data": data}
