"""The page that shows a mesh: it holds the mesh, asks nobody for anything, and looks through the package's cameras."""

import base64
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
import trimesh

from blindinv.views.camera import FOV, Camera
from blindinv.views.mesh import Mesh
from blindinv.views.viewer import packed, reduced, viewer, write_viewer


def ball(subdivisions: int = 3) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions, 0.5)
    vertices = np.asarray(made.vertices, np.float32) + np.array([0.1, 0, 0.2], np.float32)
    return Mesh(vertices, np.asarray(made.faces), (vertices + 0.6).clip(0, 1) / 1.4)


def test_the_page_holds_the_mesh(tmp_path):
    mesh, path = ball(), tmp_path / "viewer.html"
    write_viewer(mesh, path, title="a <ball>")
    page = path.read_text()
    assert "a &lt;ball&gt;" in page and "<ball>" not in page and "@" not in re.sub(r"@media", "", page)
    held = json.loads(re.search(r"^const mesh = (.*)$", page, re.MULTILINE)[1])
    data, n = base64.b64decode(held["data"]), len(mesh.vertices)
    at = np.frombuffer(data, "<u2", 4 * n).reshape(n, 4)[:, :3] / 65535 * held["size"] + held["low"]
    np.testing.assert_allclose(at, mesh.vertices, atol=1e-5)
    colours = np.frombuffer(data, np.uint8, 4 * n, 8 * n).reshape(n, 4)[:, :3] / 255
    np.testing.assert_allclose(colours, mesh.colours, atol=0.002)
    np.testing.assert_array_equal(np.frombuffer(data, "<u2", offset=12 * n).reshape(-1, 3), mesh.faces)
    assert [p.name for p in tmp_path.iterdir()] == ["viewer.html"]


def test_the_page_asks_nobody_for_anything():
    page = viewer(ball(), "ball")
    assert not re.search(r"https?://|\bsrc=|\bhref=|\bimport\b|\bfetch\b|XMLHttpRequest", page)
    assert "default-src 'none'" in page


def test_large_meshes_are_shown_with_fewer_triangles():
    mesh = ball(5)
    small = reduced(mesh, 3000)
    assert 500 < len(small.faces) <= 3000
    assert small.volume == pytest.approx(mesh.volume, rel=0.05)
    assert len(viewer(mesh, "ball", largest=3000)) < 80_000
    assert reduced(mesh, 10**6) is mesh


def test_many_vertices_get_wide_indices():
    mesh = ball(2)
    n = 70_000
    wide = Mesh(np.resize(mesh.vertices, (n, 3)), np.array([[0, 1, n - 1]]), np.resize(mesh.colours, (n, 3)))
    index = np.frombuffer(base64.b64decode(packed(wide)["data"]), "<u4", offset=12 * n)
    assert index.tolist() == [0, 1, n - 1]


def test_nothing_cannot_be_shown():
    with pytest.raises(ValueError, match="no triangles"):
        viewer(Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), int), np.zeros((3, 3), np.float32)), "none")


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script, which needs node")
def test_the_script_decodes_the_mesh_and_looks_as_cameras_do():
    """A point of the world is in the clip space where `Camera` has its pixel."""
    mesh = ball(1)
    script = re.search(r"<script>(.*)</script>", viewer(mesh, "ball"), re.DOTALL)[1]
    view = {"polar": 1.1, "azimuth": 0.7, "radius": 1.8, "fov": FOV}
    ask = f"const p = decode(mesh); console.log(JSON.stringify([Array.from(matrix({json.dumps(view)}, [0, 0, 0], 1)), "
    ask += "Array.from(p.index), p.position[4], p.colour[5]]))"
    out = subprocess.run(["node", "-e", script + ask], capture_output=True, text=True, check=True, timeout=30).stdout
    columns, index, position, colour = json.loads(out)
    np.testing.assert_array_equal(np.reshape(index, (-1, 3)), mesh.faces)
    x = mesh.vertices[:, 0]
    assert position == round(float((x[1] - x.min()) / np.ptp(x)) * 65535) and colour == round(float(mesh.colours[1, 1]) * 255)
    camera = Camera.of(torch.tensor([[1.1, 0.7, 1.8]]))
    origin, direction = camera.rays(32)
    point = (origin[0] + 1.6 * direction[0, 5, 20]).tolist()
    clip = np.reshape(columns, (4, 4)).T @ [*point, 1]
    np.testing.assert_allclose(clip[:2] / clip[3], [20.5 / 16 - 1, 1 - 5.5 / 16], atol=1e-5)
    assert -1 < clip[2] / clip[3] < 1
    assert clip[3] == pytest.approx(1.6 * float(-(direction[0, 5, 20] @ camera.axes()[0, :, 2])), rel=1e-5)
    assert math.isfinite(clip[2])
