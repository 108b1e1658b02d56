"""Meshes: geometry with known answers, and what other programs read in their files."""

import json
import struct

import numpy as np
import pytest
import trimesh

from blindinv.views.mesh import Mesh, linear, marched


def cube(side: float = 1.0, at: float = 0.0) -> Mesh:
    box = trimesh.creation.box((side, side, side))
    vertices = (np.asarray(box.vertices) + at).astype(np.float32)
    return Mesh(vertices, np.asarray(box.faces), np.linspace(0, 1, 24, dtype=np.float32).reshape(8, 3))


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    faces = np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)])
    return Mesh(np.concatenate([m.vertices for m in meshes]), faces, np.concatenate([m.colours for m in meshes]))


def test_a_cube_is_watertight_and_has_its_volume():
    assert cube(0.8).watertight and cube(0.8).volume == pytest.approx(0.512, rel=1e-5)
    opened = Mesh(cube().vertices, cube().faces[1:], cube().colours)
    assert not opened.watertight
    inside_out = Mesh(cube().vertices, cube().faces[:, ::-1], cube().colours)
    assert inside_out.volume == pytest.approx(-1, rel=1e-5)


def test_the_largest_part_stays():
    both = joined(cube(0.2, 2.0), cube(1.0))
    kept = both.largest()
    assert len(kept.vertices) == 8 and kept.watertight and kept.volume == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(kept.colours, cube().colours)


def test_clusters_have_fewer_triangles_and_the_same_shape():
    ball = trimesh.creation.icosphere(5, 0.5)
    mesh = Mesh(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces), np.full((len(ball.vertices), 3), 0.3, np.float32))
    few = mesh.clustered(16)
    assert len(few.faces) < len(mesh.faces) / 5
    assert few.volume == pytest.approx(mesh.volume, rel=0.05)
    np.testing.assert_allclose(few.colours, 0.3, atol=1e-6)


def test_marching_a_linear_field_gives_the_plane():
    at = np.linspace(-0.5, 0.5, 11, dtype=np.float32)
    sdf = np.broadcast_to(at - 0.13, (11, 11, 11))  # inside where z < 0.13
    vertices, faces = marched(sdf, 0.5)
    top = (vertices[:, 2] > 0) & (np.abs(vertices[:, :2]).max(1) < 0.45)
    np.testing.assert_allclose(vertices[top, 2], 0.13, atol=1e-5)
    mesh = Mesh(vertices, faces, vertices * 0)
    assert mesh.watertight and mesh.volume == pytest.approx(0.63, rel=0.02)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".OBJ"])
def test_files_keep_axes_and_colours(tmp_path, suffix):
    mesh = cube(0.7, 0.1)
    mesh.write(tmp_path / f"cube{suffix}")
    found = trimesh.load(tmp_path / f"cube{suffix}", process=False, force="mesh")
    np.testing.assert_allclose(found.vertices, mesh.vertices, atol=1e-6)
    assert found.volume == pytest.approx(mesh.volume, rel=1e-5)
    np.testing.assert_allclose(found.visual.vertex_colors[:, :3] / 255, mesh.colours, atol=0.003)


def test_glb_is_y_up_linear_and_unlit(tmp_path):
    mesh = cube(0.5, 0.3)
    mesh.vertices[:, 2] += 1.0
    mesh.write(tmp_path / "cube.glb")
    data = (tmp_path / "cube.glb").read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    tree, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert all(p["material"] == 0 and "COLOR_0" in p["attributes"] for m in tree["meshes"] for p in m["primitives"])
    found = trimesh.load(tmp_path / "cube.glb", process=False, force="mesh")
    x, y, z = np.asarray(found.vertices).T
    np.testing.assert_allclose(np.stack([x, -z, y], 1), mesh.vertices, atol=1e-6)
    assert found.volume == pytest.approx(mesh.volume, rel=1e-4)
    colour = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = tree["bufferViews"][colour["bufferView"]]["byteOffset"]
    values = np.frombuffer(binary, np.uint8, 4 * colour["count"], start).reshape(-1, 4)[:, :3]
    np.testing.assert_allclose(values / 255, linear(mesh.colours), atol=0.003)


def test_srgb_is_undone():
    """Mid grey, 0.5 in sRGB, is 21.4 % of the light."""
    np.testing.assert_allclose(linear(np.array([0.0, 0.5, 1.0], np.float32)), [0, 0.2140, 1], atol=1e-4)


def test_other_kinds_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match=r"\.glb, \.obj, \.ply"):
        cube().write(tmp_path / "cube.stl")
    assert not list(tmp_path.iterdir())
