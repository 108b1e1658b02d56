"""`blindinv views` with a tiny random Zero123: what it writes, and that it refuses what it cannot use before it writes anything.

The path through the code is that of `--prior bennyguo/zero123-xl-diffusers`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_zero123 import parts, save
from typer.testing import CliRunner

import blindinv.photo.views as module
import blindinv.photo.views_run as run_module
from blindinv import load_view_prior, read_objects
from blindinv.cli import app
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera, camera_error, from_transforms
from blindinv.views.inputs import on_white
from blindinv.views.search import Hypotheses

FILES = {"poses.json", "views.png", "turntable.gif", "report.json", "inputs", "views"}
SIZE = 16  # what the tiny network says it knows best
runner = CliRunner()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    return save(tmp_path_factory.mktemp("zoo") / "tiny", parts())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three pictures of one object: on white, on grey and not square, and RGBA; and what is no picture of an object."""
    folder = tmp_path_factory.mktemp("pictures")
    x = Blobs.random(3).render(Camera.degrees([15, 20, 30], [40, 130, 250]), 96)
    pictures = [np.ascontiguousarray((p * 255).round().byte().permute(1, 2, 0).numpy()) for p in x]
    alpha = np.full((96, 96, 1), 255, np.uint8) * (pictures[2] < 254).any(-1, keepdims=True)
    wide = np.full((96, 140, 3), 120, np.uint8)
    object_b = (pictures[1] < 250).any(-1)
    wide[:, 20:116][object_b] = pictures[1][object_b]
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    images = {
        "a": pictures[0],
        "b": wide,
        "c": np.concatenate([pictures[2], alpha], -1),
        "plain": np.full((50, 60, 3), 90, np.uint8),
        "clear": np.concatenate([noise, np.zeros((60, 60, 1), np.uint8)], -1),
        "opaque": np.concatenate([noise, np.full((60, 60, 1), 255, np.uint8)], -1),
        "white": np.full((60, 60, 3), 255, np.uint8),
    }
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "cut.png").write_bytes((folder / "c.png").read_bytes()[:2000])
    (folder / "text.png").write_text("not a picture")
    return folder


def command(name, *arguments):
    return runner.invoke(app, [name, *map(str, arguments)])


def refused(result, out, *words):
    """Exit code 2, one line that says what was wrong, and nothing written."""
    assert result.exit_code == 2, (result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("blindinv: ") and result.stdout == "", result.output
    assert all(word in lines[0] for word in words), lines[0]
    assert not out.exists()


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_two_pictures(tiny, folder, tmp_path):
    """Of different sizes; everything is written, the same twice."""
    quick = ("--search-steps", 3, "--steps", 2, "--views", 5, "--novel-elevation", "0,30", "--elevation", 15, "--seed", 3)
    both = []
    for out in (tmp_path / "one", tmp_path / "two"):
        result = command("views", folder / "a.png", folder / "b.png", "-o", out, "--prior", tiny, *quick)
        assert result.exit_code == 0, (result.output, result.exception)
        assert {p.name for p in out.iterdir()} == FILES
        both.append(contents(out))
    reports = [json.loads(c.pop("report.json")) for c in both]
    assert both[0] == both[1]
    report = reports[0]
    assert report["parameters"]["seed"] == 3 and report["size"] == SIZE and report["recentred"] and report["note"] is None
    assert [p["alpha_from"] for p in report["pictures"]] == ["background"] * 2 and len(report["weights_sha256"]) == 64
    assert report["pictures"][1]["width"] == 140 and report["seconds"] > 0 and report["elevation"] == pytest.approx(15)
    assert {"resident"} <= set(report["peak_memory_mib"]) and {"blindinv", "torch"} <= set(report["versions"])
    assert "2 pictures; 5 novel views; b.png" in result.stdout and "around" in result.stdout


def test_files_say_where_the_cameras_are(tiny, folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(Hypotheses, "margin", property(lambda self: 0.05))  # as of a symmetric object
    quick = ("--search-steps", 3, "--steps", 2, "--views", 4)
    result = command("views", folder / "a.png", folder / "b.png", "-o", out, "--prior", tiny, *quick)
    assert result.exit_code == 0 and "warning: b.png: the pose is ambiguous" in result.stderr
    content = json.loads((out / "poses.json").read_text())
    camera, names = from_transforms(content)
    assert names == ["inputs/1.png", "inputs/2.png"] + [f"views/{i:02d}.png" for i in range(1, 5)]
    for frame, at in zip(content["frames"], camera.pose, strict=True):
        pose = frame["pose"]
        again = Camera.degrees([pose["elevation"]], [pose["azimuth"]], pose["radius"])
        assert float(camera_error(again, Camera.of(at[None]))) < 0.01 and pose["polar"] == pytest.approx(90 - pose["elevation"])
    assert [f["pose"]["azimuth"] for f in content["frames"][2:]] == pytest.approx([0, 90, 180, -90], abs=1e-3)
    search = content["frames"][1]["search"]
    losses = [h["loss"] for h in search["hypotheses"]]
    assert losses == sorted(losses) and search["margin"] == 0.05 and "ambiguous" in search["warning"]
    assert content["frames"][1]["source"].endswith("b.png") and content["frames"][0]["search"] is None
    with Image.open(out / "turntable.gif") as gif:
        assert gif.n_frames == 4 and gif.info["loop"] == 0
    with Image.open(out / "inputs/1.png") as image:
        assert image.mode == "RGBA" and image.size == (SIZE, SIZE)
    with Image.open(out / "views/01.png") as image:
        assert image.mode == "RGB" and image.size == (SIZE, SIZE)


def test_one_picture_says_that_it_is_one(tiny, folder, tmp_path):
    result = command("views", folder / "c.png", "-o", tmp_path / "out", "--prior", tiny, "--steps", 2, "--views", 2, "--json")
    assert result.exit_code == 0 and "one picture only" in result.stderr
    facts = json.loads(result.stdout)
    assert "one picture only" in facts["note"] and len(facts["cameras"]) == 1 and facts["folder"] == str(tmp_path / "out")


def test_the_shipped_prior_is_the_default(tmp_path):
    """On a picture of `make demo-3d`, which is kept as it is."""
    examples, out = Path(__file__).parents[2] / "examples", tmp_path / "out"
    result = command("views", examples / "object-one.png", "-o", out, "--steps", 2, "--views", 1)
    assert result.exit_code == 0, (result.output, result.exception)
    facts = json.loads((out / "report.json").read_text())
    assert facts["size"] == 64 and not facts["recentred"] and facts["parameters"]["prior"] == "objects"
    assert facts["pictures"][0]["alpha_from"] == "alpha" and facts["elevation_from"] == "assumed"


def test_known_poses_of_three_pictures(tiny, folder, tmp_path):
    poses = [(75, 40, 1.8), (70, 130, 1.7), (60, 250, 1.9)]
    arguments = [a for p in poses for a in ("--pose", ",".join(map(str, p)))]
    names = [folder / f"{n}.png" for n in "abc"]
    out = tmp_path / "out"
    slow = ("--two-chains", "--refine", 1000)
    result = command("views", *names, "-o", out, "--prior", tiny, "--steps", 2, "--views", 2, *slow, *arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads((out / "report.json").read_text())
    found = [(c["polar"], c["azimuth"] % 360, c["radius"]) for c in facts["cameras"]]
    assert np.allclose(found, poses, atol=1e-3)


def test_results_are_replaced_and_nothing_else(tiny, folder, tmp_path):
    out = tmp_path / "out"
    quick = ("-o", out, "--prior", tiny, "--steps", 1)
    assert command("views", folder / "c.png", *quick, "--views", 3).exit_code == 0
    assert command("views", folder / "c.png", *quick, "--views", 2).exit_code == 0
    assert len(list((out / "views").iterdir())) == 2
    (out / "mine.txt").write_text("mine")
    before = contents(out)
    result = command("views", folder / "c.png", *quick)
    assert result.exit_code == 2 and "not results of blindinv" in result.stderr and contents(out) == before


BAD = {
    "no-picture": ([], "no picture is given"),
    "missing": (["none.png"], "none.png", "no such file"),
    "not-an-image": (["a.png", "text.png"], "text.png", "not a JPEG"),
    "truncated": (["cut.png"], "cut.png", "damaged or cut off"),
    "nothing-there": (["a.png", "plain.png"], "plain.png", "no object"),
    "transparent": (["clear.png"], "clear.png", "transparent everywhere"),
    "not-plain": (["opaque.png"], "opaque.png", "not plain", "RGBA"),
    "as-is-not-square": (["a.png", "b.png", "--as-is"], "b.png", "140x96", "must be square"),
    "as-is-white": (["white.png", "--as-is"], "white everywhere"),
    "prior": (["a.png", "--prior", "magic"], "unknown view prior 'magic'"),
    "prior-of-photos": (["a.png", "--prior", "photos.safetensors"], "photos"),
    "device": (["a.png", "--device", "abacus"], "--device abacus"),
    "threads": (["a.png", "--threads", "0"], "--threads 0"),
    "cuda": (["a.png", "--device", "cuda:77"], "no such CUDA device"),
    "half": (["a.png", "--half", "--device", "cpu"], "--half", "CUDA"),
    "steps": (["a.png", "--steps", "0"], "--steps 0"),
    "search-steps": (["a.png", "--search-steps", "0"], "--search-steps 0"),
    "views": (["a.png", "--views", "0"], "--views 0"),
    "guidance": (["a.png", "--guidance", "nan"], "--guidance nan"),
    "chunk": (["a.png", "--chunk", "0"], "--chunk 0"),
    "refine": (["a.png", "--refine", "1001"], "--refine 1001"),
    "seed": (["a.png", "--seed", "-1"], "--seed -1"),
    "elevation": (["a.png", "--elevation", "up"], "--elevation up", "auto"),
    "novel-elevation": (["a.png", "--novel-elevation", "0,99"], "--novel-elevation 0,99"),
    "pose-text": (["a.png", "--pose", "here"], "--pose here", "POLAR,AZIMUTH"),
    "pose-below-zero": (["a.png", "--pose", "-20,30"], "--pose -20,30"),
    "pose-nan": (["a.png", "--pose", "70,nan"], "--pose 70,nan"),
    "pose-count": (["a.png", "b.png", "--pose", "70,0"], "1 times", "2 pictures"),
    "pose-and-elevation": (["a.png", "--pose", "70,0", "--elevation", "20"], "--elevation and --pose"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(folder, tmp_path, monkeypatch, tiny, name):
    from blindinv.zoo.shipped import WEIGHTS

    monkeypatch.chdir(folder)
    arguments, *words = BAD[name]
    arguments = [str(WEIGHTS / a) if a == "photos.safetensors" else a for a in arguments]
    if "--prior" not in arguments:
        arguments += ["--prior", str(tiny)]
    refused(command("views", *arguments, "-o", tmp_path / "out"), tmp_path / "out", *words)


def test_a_missing_extra_is_named(folder, tmp_path, monkeypatch, tiny):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(
        command("views", folder / "a.png", "-o", tmp_path / "out", "--prior", tiny),
        tmp_path / "out",
        "pip install 'blindinv[sd]'",
    )


def test_where_nothing_can_be_written(folder, tmp_path, tiny, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    cases = {"file": "is not a folder", "file/out": "cannot be written", ".": "a folder of its own", "..": "a folder of its own"}
    for out, words in cases.items():
        result = command("views", folder / "a.png", "-o", out, "--prior", tiny)
        assert result.exit_code == 2 and words in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_nothing(folder, tmp_path, tiny, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_turntable", full)
    quick = ("--prior", tiny, "--steps", 1, "--views", 1)
    refused(command("views", folder / "c.png", "-o", tmp_path / "out" / "deep", *quick), tmp_path / "out", "No space left")


@pytest.mark.parametrize("when", ["find_views", "write_views"])
def test_interrupt_leaves_nothing_half_written(folder, tmp_path, tiny, monkeypatch, when):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, when, interrupted)
    result = command("views", folder / "c.png", "-o", tmp_path / "out", "--prior", tiny, "--steps", 1, "--views", 1)
    assert result.exit_code == 130 and "nothing half-written" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_read_objects_is_what_the_command_sees(folder, tmp_path, tiny):
    out = tmp_path / "out"
    quick = ("--search-steps", 1, "--steps", 1, "--views", 1)
    command("views", folder / "a.png", folder / "b.png", "-o", out, "--prior", tiny, *quick)
    y = on_white(read_objects([folder / "a.png", folder / "b.png"], load_view_prior(tiny)))
    for i in range(2):
        seen = torch.from_numpy(np.array(Image.open(out / "inputs" / f"{i + 1}.png"))).permute(2, 0, 1)[None] / 255
        torch.testing.assert_close(on_white(seen), y[i : i + 1], atol=0.01, rtol=0)
