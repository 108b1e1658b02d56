"""`blindinv mesh` with a tiny random Zero123, end to end; and that a surface comes out right where the views are."""

import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from test_views_commands import FILES, command, contents, folder, refused, tiny  # noqa: F401 (fixtures)

import blindinv.photo.views_mesh as module
from blindinv.photo.errors import PhotoError
from blindinv.photo.views_mesh import MeshSettings, surface_of, turntable
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera, orbit
from blindinv.views.reconstruct import Stage, ViewsResult
from blindinv.views.rings import rings


@pytest.fixture(autouse=True)
def small_frames(monkeypatch):
    monkeypatch.setattr(module, "FRAME", 32)


QUICK = ("--search-steps", 2, "--steps", 2, "--views", 6, "--detail", 12)


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


def test_detail_makes_levels():
    assert MeshSettings(detail=64).fit().resolutions == (32, 64)
    fit = MeshSettings(detail=100).fit()
    assert fit.resolutions == (32, 64, 100) and len(fit.iterations) == 3 and fit.rates[0] > fit.rates[1] > fit.rates[2]
    with pytest.raises(PhotoError, match="--detail 300"):
        MeshSettings(detail=300)
