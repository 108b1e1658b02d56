"""Pictures of meshes: the pixels of `Camera.rays`, silhouettes with a closed form, light, and files of meshes."""

import math

import numpy as np
import pytest
import torch
import trimesh

from blindinv.views.blobs import Blobs
from blindinv.views.camera import FOV, Camera
from blindinv.views.objects import Thing
from blindinv.views.render import EXTENT, LIGHT, Triangles, corner_colours, load_mesh, on_white, painted, render, straight

SOME = Camera.degrees([20, -10, 48], [30, 200, -75], [1.7, 2.0, 1.85])


def ball(at=(0.0, 0.0, 0.0), radius=0.1, colour=(255, 0, 0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(4, radius)
    return trimesh.Trimesh(mesh.vertices + at, mesh.faces, face_colors=[[*colour, 255]] * len(mesh.faces), process=False)


def centroid(alpha: torch.Tensor) -> tuple[float, float]:
    """Column and row, the centre of the first pixel at 0.5."""
    at = torch.arange(len(alpha)) + 0.5
    return float((alpha.sum(0) * at).sum() / alpha.sum()), float((alpha.sum(1) * at).sum() / alpha.sum())


@pytest.mark.parametrize("i", range(3))
def test_a_small_ball_is_where_the_matrices_say(i):
    point = (0.31, -0.12, 0.22)
    picture = render(ball(point, 0.03), SOME[i : i + 1], 128, 4)
    local = SOME.opencv()[i] @ torch.tensor([*point, 1.0])
    u, v, w = SOME.intrinsics(128) @ local[:3]
    assert centroid(picture[0, 3]) == pytest.approx((float(u / w), float(v / w)), abs=0.06)


def test_the_silhouette_of_a_ball_is_a_cone_of_rays():
    picture = render(ball(radius=0.6), SOME, 64, 1)[:, 3]
    origin, direction = SOME.rays(64)
    distance = torch.linalg.cross(direction, origin[:, None, None].expand_as(direction)).norm(dim=-1)
    sure = (distance - 0.6).abs() > 0.002
    assert torch.equal(picture[sure], (distance < 0.6).float()[sure]) and sure.float().mean() > 0.95


def test_coverage_has_the_area_of_the_closed_form():
    camera = Camera.degrees([33], [70], 1.8)
    alpha = render(ball(radius=0.5), camera, 64, 4)[0, 3]
    tangent = 0.5 / math.sqrt(1.8**2 - 0.5**2)
    expected = math.pi * (tangent / math.tan(FOV / 2) * 32) ** 2
    assert float(alpha.sum()) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("at", [(0.3, 0.1, 0.2), (-0.2, 0.3, -0.3), (0.0, -0.35, 0.1)])
def test_balls_are_where_blobs_of_the_same_places_are(at):
    blob = Blobs(torch.tensor([at]), torch.tensor([0.02]), torch.zeros(1, 3))
    ours, theirs = render(ball(at, 0.04), SOME, 64, 4)[:, 3], 1 - blob.render(SOME, 64)[:, 0]
    for alpha, other in zip(ours, theirs, strict=True):
        assert centroid(alpha) == pytest.approx(centroid(other), abs=0.1)


def test_supersampling_is_the_mean_of_finer_pixels():
    thing = Thing.random(3)
    fine = render(thing, SOME, 64, 1)
    torch.testing.assert_close(render(thing, SOME, 32, 2), torch.nn.functional.avg_pool2d(fine, 2))


def test_the_side_that_faces_the_light_is_the_brightest():
    light = torch.tensor(LIGHT)
    assert float(light.norm()) == pytest.approx(1)
    polar, azimuth = torch.acos(light[2]), torch.atan2(light[1], light[0])
    lit = Camera(polar[None], azimuth[None], torch.tensor([1.8]))
    assert float(render(ball(radius=0.5), lit, 33, 1)[0, 0, 16, 16]) == pytest.approx(1, abs=0.01)
    dark = Camera(math.pi - polar[None], azimuth[None] + math.pi, torch.tensor([1.8]))
    assert float(render(ball(radius=0.5), dark, 33, 1)[0, 0, 16, 16]) == pytest.approx(0.4, abs=0.01)


def test_straight_colours_give_the_same_picture_when_put_on_white():
    picture = render(Thing.random(1), SOME, 32)
    flat = straight(picture)
    torch.testing.assert_close(flat[:, :3] * flat[:, 3:] + 1 - flat[:, 3:], on_white(picture), atol=1e-5, rtol=0)


def test_a_mesh_turned_inside_out_looks_the_same():
    mesh = ball(radius=0.5)
    flipped = trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], face_colors=mesh.visual.face_colors, process=False)
    torch.testing.assert_close(render(flipped, SOME, 32), render(mesh, SOME, 32))


def test_prepared_triangles_make_the_same_picture():
    thing = Thing.random(2)
    assert torch.equal(render(Triangles.of(thing), SOME, 24), render(thing, SOME, 24))


def test_colours_of_vertices_are_interpolated():
    corners = np.array([[0, -0.5, -0.5], [0, 0.5, -0.5], [0, 0, 0.6]])
    mesh = trimesh.Trimesh(corners, [[0, 1, 2]], vertex_colors=[[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]])
    assert np.allclose(corner_colours(mesh)[0], np.eye(3))
    picture = render(mesh, Camera.degrees([0], [0], 1.8), 65, 1)[0, :3]
    middle = picture[:, 32, 32] / picture[:, 32, 32].sum()
    torch.testing.assert_close(middle, torch.tensor([0.2727, 0.2727, 0.4545]), atol=0.01, rtol=0)  # at z = 0


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb", "stl", "off"])
def test_meshes_of_files_are_turned_upright_and_fit(tmp_path, suffix):
    box = trimesh.creation.box((2, 6, 1))
    box.export(tmp_path / f"box.{suffix}")
    mesh = load_mesh(tmp_path / f"box.{suffix}")
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(EXTENT)
    assert np.allclose(mesh.extents / mesh.extents[0], [1, 0.5, 3]) and np.allclose(mesh.bounds.sum(0), 0)
    assert render(mesh, SOME, 32)[:, 3].mean() > 0.05


def test_colours_of_a_file_are_kept_or_replaced(tmp_path):
    mesh = ball(radius=0.5, colour=(10, 200, 30))
    mesh.export(tmp_path / "ball.ply")
    kept = corner_colours(load_mesh(tmp_path / "ball.ply", "file"))
    assert np.allclose(kept, np.array([10, 200, 30]) / 255, atol=1e-6)
    assert corner_colours(load_mesh(tmp_path / "ball.ply")).std((0, 1)).min() > 0.2


def test_procedural_colours_differ_from_every_side():
    pictures = on_white(render(painted(ball(radius=0.6)), Camera.degrees([10] * 8, [45 * i for i in range(8)]), 24)).flatten(1)
    assert torch.cdist(pictures, pictures).add(torch.eye(8) * 99).min() / pictures.shape[1] ** 0.5 > 0.05


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"hello"), ("a.obj", b"hello"), ("a.glb", b"glTFnonsense"), ("a.ply", b"")]
)
def test_files_without_a_mesh_are_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name[:1]) as error:
        load_mesh(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.obj"):
        load_mesh(tmp_path / "nothing.obj")


def test_without_embreex_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "embreex", None)
    with pytest.raises(ImportError, match=r"blindinv\[views\]"):
        render(ball(), SOME, 16)
