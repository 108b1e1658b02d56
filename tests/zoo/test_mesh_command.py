"""`blindinv mesh` with a tiny random Zero123, end to end; and that a surface comes out right where the views are."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from test_views_commands import FILES, command, contents, folder, refused, tiny  # noqa: F401 (fixtures)

import blindinv.photo.views_mesh as module
from blindinv.photo.errors import PhotoError
from blindinv.photo.pictures import CAPTION, MARGIN
from blindinv.photo.views_mesh import MeshSettings, levelled, surface_of, turntable
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera, orbit
from blindinv.views.elevation import find_elevation
from blindinv.views.heights import tilted
from blindinv.views.objects import BENCHMARK, Thing
from blindinv.views.reconstruct import Stage, ViewsResult
from blindinv.views.render import on_white, render
from blindinv.views.rings import rings
from blindinv.views.surface import Fit


@pytest.fixture(autouse=True)
def small_frames(monkeypatch):
    monkeypatch.setattr(module, "FRAME", 32)


COARSE = Fit((20,), (80,), (1e-2,), rays=384, samples=24, fine=12, sharpness=(30.0, 120.0))
QUICK = ("--elevation", 20, "--search-steps", 2, "--steps", 2, "--views", 6, "--detail", 12)


def test_pictures_become_a_mesh_the_same_twice(tiny, folder, tmp_path):  # noqa: F811
    both = []
    for out in (tmp_path / "one", tmp_path / "two"):
        names = (folder / "a.png", folder / "b.png")
        result = command("mesh", *names, "-o", out, "--prior", tiny, *QUICK, "--format", "glb", "--format", "ply")
        assert result.exit_code == 0, (result.output, result.exception)
        assert {p.name for p in out.iterdir()} == FILES | {"object.glb", "object.ply", "viewer.html"}
        both.append(contents(out))
    reports = [json.loads(c.pop("report.json")) for c in both]
    facts = reports[0]
    assert both[0] == both[1]
    read = trimesh.load(out / "object.ply", process=False)
    assert len(read.faces) == facts["mesh"]["faces"] > 100 and read.is_watertight == facts["mesh"]["watertight"]
    assert read.visual.kind == "vertex" and np.abs(read.vertices).max() <= 0.71
    glb = trimesh.load(out / "object.glb", force="mesh", process=False)
    turned = np.stack([read.vertices[:, 0], read.vertices[:, 2], -read.vertices[:, 1]], 1)
    assert np.allclose(np.sort(glb.vertices, 0), np.sort(turned, 0), atol=1e-5)
    with Image.open(tmp_path / "one" / "views.png") as page:
        side = (page.width - MARGIN) // 8 - MARGIN
        assert (page.height - MARGIN) // (side + CAPTION + MARGIN) == 3  # pictures, six views, the mesh
    assert facts["mesh"]["fit"]["resolutions"] == [12] and set(facts["seconds_of"]) == {"views", "surface", "turntable"}
    assert "object.glb" in result.stdout and "triangles" in result.stdout
    page = (out / "viewer.html").read_text()
    assert "<script" in page and 'src="http' not in page and "src='http" not in page
    elevations = {round(f["pose"]["elevation"]) for f in json.loads((out / "poses.json").read_text())["frames"][2:]}
    assert elevations == {-15, 20, 50}


def test_one_picture_makes_a_mesh_too(tiny, folder, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    result = command("mesh", folder / "c.png", "-o", out, "--prior", tiny, *QUICK, "--format", "obj", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "one picture only" in result.stderr and (out / "object.obj").is_file() and not (out / "object.glb").exists()
    assert json.loads(result.stdout)["mesh"]["formats"] == ["obj"]
    with Image.open(out / "turntable.gif") as gif:
        assert gif.n_frames == 24


BAD = {
    "no-picture": ([], "no picture is given"),
    "plain": (["plain.png"], "plain.png", "no object"),
    "format": (["a.png", "--format", "stl"], "--format stl", "glb, obj, ply"),
    "detail": (["a.png", "--detail", "4"], "--detail 4"),
    "prior": (["a.png", "--prior", "magic"], "unknown view prior 'magic'"),
    "pose": (["a.png", "--pose", "1,2,3,4"], "--pose 1,2,3,4"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(folder, tmp_path, monkeypatch, tiny, name):  # noqa: F811
    monkeypatch.chdir(folder)
    arguments, *words = BAD[name]
    arguments = arguments if "--prior" in arguments else [*arguments, "--prior", str(tiny)]
    refused(command("mesh", *arguments, "-o", tmp_path / "out"), tmp_path / "out", *words)


def test_views_that_show_nothing_are_said(folder, tmp_path, monkeypatch, tiny):  # noqa: F811
    white = ViewsResult(torch.ones(2, 3, 16, 16), orbit(2), orbit(1), [])
    monkeypatch.setattr(module, "find_views", lambda *_: (white, torch.ones(1, 4, 16, 16)))
    refused(command("mesh", folder / "c.png", "-o", tmp_path / "out", "--prior", tiny), tmp_path / "out", "show no object")


@pytest.mark.parametrize("when", ["find_views", "surface_of", "write_mesh"])
def test_interrupt_leaves_nothing_half_written(folder, tmp_path, tiny, monkeypatch, when):  # noqa: F811
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, when, interrupted)
    result = command("mesh", folder / "c.png", "-o", tmp_path / "out", "--prior", tiny, *QUICK)
    assert result.exit_code == 130 and "nothing half-written" in result.stderr and list(tmp_path.iterdir()) == []


def test_the_turntable_shows_the_object_and_begins_at_the_first_camera():
    thing, first, stages = Blobs.random(3), Camera.degrees([20.0], [50.0]), []
    cameras = rings(18)
    found = ViewsResult(thing.render(cameras, 32), cameras, first, [])
    surface = surface_of(found, MeshSettings(detail=24).fit(), 0, stages.append)
    frames = turntable(surface, first)
    truth = thing.render(orbit(24, 20.0, start=50.0), 32)
    nearest = torch.cdist(frames.flatten(1), truth.flatten(1), p=1.0).argmin(1)
    assert ((nearest - torch.arange(24) + 12) % 24 - 12).abs().max() <= 1
    assert stages[-1] == Stage("surface", len(stages), len(stages))


@pytest.mark.parametrize("truth", [20.0, 40.0])
def test_views_are_levelled(truth, monkeypatch):
    """Made for an assumed elevation of 20, by a prior that knows nothing of it."""
    monkeypatch.setattr(module, "find_elevation", partial(find_elevation, candidates=(0.0, 20.0, 40.0), settings=COARSE))
    thing, wanted = Thing.random(BENCHMARK), rings(12)
    views = on_white(render(thing, tilted(wanted, truth - 20), 24))
    found = levelled(ViewsResult(views, wanted, Camera.degrees([20.0, 5.0], [0.0, 70.0]), []), 0)
    assert found.elevation.clear
    assert (90 - torch.rad2deg(found.inputs.polar)).tolist() == pytest.approx([truth, truth - 15], abs=10)
    by = found.camera.relative_to(wanted)
    torch.testing.assert_close(by, found.inputs[[0] * 12].relative_to(Camera.degrees([20.0] * 12, [0.0] * 12)), atol=1e-5, rtol=0)


def test_views_that_do_not_tell_are_left_as_they_are(monkeypatch):
    """One view fits at any elevation."""
    monkeypatch.setattr(module, "find_elevation", partial(find_elevation, candidates=(10.0, 20.0, 30.0), settings=COARSE))
    before = ViewsResult(Blobs.random(3).render(orbit(1), 24), orbit(1, 20.0), Camera.degrees([20.0], [0.0]), [])
    found = levelled(before, 0)
    assert not found.elevation.clear and torch.equal(found.camera.pose, before.camera.pose)
    assert found.elevation.degrees == pytest.approx(20, abs=1e-4)


def test_auto_elevation_of_a_prior_that_knows_no_up(tiny, folder, tmp_path, monkeypatch):  # noqa: F811
    calls = []

    def quick(*arguments, **options):
        calls.append(find_elevation(*arguments, **{**options, "candidates": (0.0, 20.0), "settings": COARSE}))
        return calls[-1]

    monkeypatch.setattr(module, "find_elevation", quick)
    out = tmp_path / "out"
    result = command("mesh", folder / "c.png", "-o", out, "--prior", tiny, *QUICK, "--elevation", "auto")
    assert result.exit_code == 0, (result.output, result.exception)
    facts = json.loads((out / "report.json").read_text())
    assert facts["elevation_search"]["losses"] == list(calls[0].losses) and "elevation" in facts["seconds_of"]
    first = json.loads((out / "poses.json").read_text())["frames"][0]["pose"]["elevation"]
    assert first == facts["elevation"] and facts["elevation_from"] == ("assumed" if first == 20 else "estimated")


def test_detail_makes_levels():
    assert MeshSettings(detail=64).fit().resolutions == (32, 64)
    fit = MeshSettings(detail=100).fit()
    assert fit.resolutions == (32, 64, 100) and len(fit.iterations) == 3 and fit.rates[0] > fit.rates[1] > fit.rates[2]
    with pytest.raises(PhotoError, match="--detail 300"):
        MeshSettings(detail=300)
