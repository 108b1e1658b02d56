"""Procedural objects: the same for a seed, within their sphere, closed, lopsided, and exact about what is inside."""

import numpy as np
import pytest
import torch
import trimesh

from blindinv.views.camera import orbit
from blindinv.views.objects import BENCHMARK, Thing, _unit, within
from blindinv.views.render import EXTENT, on_white, render

FAMILIES = ("blocks", "tilted")
KINDS = ("box", "ellipsoid", "cylinder", "cone", "torus", "capsule")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_is_one_object(family):
    a, b, c = Thing.random(5, family), Thing.random(5, family), Thing.random(6, family)
    assert np.array_equal(a.mesh.vertices, b.mesh.vertices)
    assert np.array_equal(a.mesh.visual.face_colors, b.mesh.visual.face_colors)
    assert a.mesh.vertices.shape != c.mesh.vertices.shape or not np.array_equal(a.mesh.vertices, c.mesh.vertices)


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_fill_their_sphere_and_are_lopsided(family):
    for seed in range(BENCHMARK, BENCHMARK + 5):
        thing = Thing.random(seed, family)
        assert np.linalg.norm(thing.mesh.vertices, axis=1).max() == pytest.approx(EXTENT)
        assert np.allclose(thing.mesh.bounds.sum(0), 0, atol=1e-9)
        views = on_white(render(thing, orbit(8, 15.0), 32, 1)).flatten(1)
        for i in range(8):
            for j in range(i):
                assert (views[i] - views[j]).square().mean().sqrt() >= 0.05
        assert thing.lopsided()


def test_a_round_object_is_not_lopsided():
    mesh = trimesh.creation.cylinder(0.4, 0.8, sections=64)
    mesh.visual.face_colors = [[200, 30, 30, 255]] * len(mesh.faces)
    assert not Thing((mesh,)).lopsided()


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_closed_also_where_they_have_two_colours(family):
    for seed in range(4):
        for part in Thing.random(seed, family).parts:
            mesh = part.copy()
            mesh.merge_vertices(merge_norm=True, merge_tex=True, digits_vertex=7)
            assert mesh.is_watertight and mesh.volume > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_volume_inside_a_part_is_that_of_its_mesh(kind):
    points = np.random.default_rng(0).uniform(-1, 1, (40_000, 3))
    inside = within(_unit(kind), points)
    assert 8 * inside.mean() == pytest.approx(_unit(kind).volume, rel=0.02)
    radius, z = np.linalg.norm(points[:, :2], axis=1), points[:, 2]
    if kind == "torus":
        assert not inside[radius < 0.38].any() and inside[np.hypot(radius - 0.7, z / (1 / 0.3) * 1) < 0.05].all()
    if kind == "ellipsoid":
        assert inside[np.hypot(radius, z) < 0.99].all() and not inside[np.hypot(radius, z) > 1].any()


def test_inside_is_inside_any_part():
    thing = Thing.random(7)
    points = np.random.default_rng(1).uniform(-EXTENT, EXTENT, (3000, 3))
    expected = np.any([within(p, points) for p in thing.parts], 0)
    assert np.array_equal(thing.contains(points), expected) and 0.02 < expected.mean() < 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_points_of_the_surface_are_on_it(family):
    thing = Thing.random(8, family)
    points = thing.surface(1500, np.random.default_rng(2))
    assert points.shape == (1500, 3)
    rng = np.random.default_rng(3)
    step = rng.standard_normal((8, 1500, 3)) * 2e-3
    near = np.stack([thing.contains(points + s) for s in step])
    assert (near.any(0) & ~near.all(0)).mean() > 0.97  # both sides are next to (nearly) every one of them
    assert np.array_equal(points, Thing.random(8, family).surface(1500, np.random.default_rng(2)))


def test_the_surface_is_sampled_evenly():
    box = trimesh.creation.box((0.2, 0.4, 0.6))
    points = Thing((box,)).surface(20_000, np.random.default_rng(4))
    shares = [np.isclose(abs(points[:, i]), box.extents[i] / 2).mean() for i in range(3)]
    areas = np.array([0.24, 0.12, 0.08])
    assert np.allclose(shares, areas / areas.sum(), atol=0.015)


def test_pictures_of_an_object_show_several_colours_on_white():
    picture = render(Thing.random(9), orbit(4, 20.0), 48)
    assert torch.equal(picture[:, :3, 0, 0], torch.ones(4, 3))
    assert 0.1 < picture[:, 3].mean() < 0.6
