"""`blindinv turbulence`: what it writes, and that it refuses what it cannot use before it writes anything."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

import blindinv.photo.turbulence as module
from blindinv.cli import app
from blindinv.kernels.tilt import tilt_maps
from blindinv.photo.read import read_photo
from blindinv.photo.turbulence_pictures import tilt_colours, tilt_picture

FILES = {"image.png", "kernel.npy", "kernel.png", "tilt.npy", "tilt.png", "comparison.png", "report.json"}
runner = CliRunner()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "in" / "face.png"
    path.parent.mkdir()
    Image.fromarray(astronaut()[60:124, 190:270]).save(path)
    return path


def turbulence(*arguments):
    return runner.invoke(app, ["turbulence", *map(str, arguments)])


def refused(result, out, *words):
    """Exit code 2, one line that says what was wrong, and nothing written."""
    assert result.exit_code == 2, (result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("blindinv: ") and result.stdout == "", result.output
    assert all(word in lines[0] for word in words), lines[0]
    assert not out.exists()


def test_writes_everything_the_same_twice_and_the_report_says_what(photo, tmp_path):
    truth = tmp_path / "tilt.npy"
    np.save(truth, tilt_maps(1, (64, 80), torch.Generator().manual_seed(0))[0].numpy())
    contents = []
    for out in ("a", "b"):
        arguments = (photo, "-o", tmp_path / out, "--kernel-size", 9, "--sigma", 0.02, "--steps", 2, "--seed", 4)
        result = turbulence(*arguments, "--truth", photo, "--true-tilt", truth, "--strength", 2)
        assert result.exit_code == 0, (result.output, result.exception)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / out / "face").iterdir()})
    assert set(contents[0]) == FILES and "PSNR" in result.stdout and "pixels" in result.stdout
    report = json.loads(contents[0]["report.json"])
    assert {k: v for k, v in contents[0].items() if k != "report.json"} == {
        k: v for k, v in contents[1].items() if k != "report.json"
    }
    assert report["parameters"]["strength"] == 2 and report["sigma"] == pytest.approx(0.02) and report["boundary"] == "free"
    assert len(report["weights_sha256"]["prior"]) == 64 and report["figures"]["after"]["psnr"] > 15
    tilt, kernel = np.load(tmp_path / "a" / "face" / "tilt.npy"), np.load(tmp_path / "a" / "face" / "kernel.npy")
    assert tilt.shape == (2, 64, 80) and tilt.dtype == np.float32
    assert report["tilt_rms_pixels"] == pytest.approx(float(np.sqrt((tilt**2).mean())), rel=1e-4)
    figures = report["figures"]["tilt"]
    assert 0.3 < figures["end_point_error_of_no_tilt"] < 0.7 and figures["end_point_error"] > 0
    assert kernel.shape == (9, 9) and kernel.sum() == pytest.approx(1, abs=1e-4)
    assert read_photo(tmp_path / "a" / "face" / "image.png").pixels.shape == (1, 3, 64, 80)


def test_photons_make_a_noise_map(photo, tmp_path):
    """100 photons at white are not the same as Gaussian noise of their root mean square."""
    arguments = (photo, "--kernel-size", 9, "--steps", 2)
    assert turbulence(*arguments, "-o", tmp_path / "a", "--photons", 100).exit_code == 0
    first = json.loads((tmp_path / "a" / "face" / "report.json").read_text())
    mean = astronaut()[60:124, 190:270].mean() / 255
    assert first["sigma"] == pytest.approx((mean / 100) ** 0.5, rel=0.02) and not first["sigma_estimated"]
    assert turbulence(*arguments, "-o", tmp_path / "b", "--sigma", first["sigma"]).exit_code == 0
    second = json.loads((tmp_path / "b" / "face" / "report.json").read_text())
    assert second["sigma"] == pytest.approx(first["sigma"])
    mapped, flat = (read_photo(tmp_path / out / "face" / "image.png").pixels for out in ("a", "b"))
    dark = read_photo(photo).pixels.mean(1, keepdim=True) < 0.1
    difference = (mapped - flat).abs().mean(1, keepdim=True)
    assert difference[dark].mean() > 0.005


BAD = {
    "not-an-image": (["text.jpg"], "not a JPEG"),
    "missing": (["none.png"], "no such file"),
    "second-is-bad": (["face.png", "text.jpg"], "text.jpg"),
    "default-kernel-too-large": (["face.png", "--kernel-size", "64"], "--kernel-size"),
    "method": (["face.png", "--method", "magic"], "magic", "default, blinddps"),
    "prior": (["face.png", "--prior", "magic"], "unknown prior 'magic'"),
    "tilt-prior-of-default": (["face.png", "--tilt-prior", "gaussian"], "takes no tilt prior"),
    "strength-negative": (["face.png", "--strength", "-1"], "--strength -1", "0 (no tilt)"),
    "strength-nan": (["face.png", "--strength", "nan"], "--strength nan"),
    "sigma": (["face.png", "--sigma", "5"], "255"),
    "boundary": (["face.png", "--boundary", "round"], "auto, free or circular"),
    "photons": (["face.png", "--photons", "0"], "--photons 0"),
    "same-name": (["face.png", "../in/face.png"], "both be written"),
    "tilt-missing": (["face.png", "--true-tilt", "none.npy"], "no such file"),
    "tilt-shape": (["face.png", "--true-tilt", "flat.npy"], "(80, 64)", "(2, 64, 80)"),
    "tilt-nan": (["face.png", "--true-tilt", "nan.npy"], "NaN"),
    "tilt-text": (["face.png", "--true-tilt", "text.jpg"], "not a plain .npy"),
    "tilt-of-two": (["face.png", "other.png", "--true-tilt", "nan.npy"], "one photo"),
    "steps": (["face.png", "--steps", "0"], "--steps 0"),
    "device": (["face.png", "--device", "abacus"], "--device abacus"),
    "threads": (["face.png", "--threads", "-1"], "--threads -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(photo, tmp_path, monkeypatch, name):
    monkeypatch.chdir(photo.parent)
    photo.with_name("text.jpg").write_text("not a picture")
    photo.with_name("other.png").write_bytes(photo.read_bytes())
    np.save(photo.with_name("flat.npy"), np.zeros((80, 64)))
    np.save(photo.with_name("nan.npy"), np.full((2, 64, 80), np.nan))
    arguments, *words = BAD[name]
    refused(turbulence("--kernel-size", 9, *arguments, "-o", tmp_path / "out"), tmp_path / "out", *words)


def test_a_kernel_prior_is_no_tilt_prior(photo, tmp_path):
    from blindinv.zoo.shipped import WEIGHTS

    arguments = (photo, "-o", tmp_path / "out", "--kernel-size", 9, "--method", "blinddps", "--prior", "photos")
    wrong = WEIGHTS / "kernel_denoiser.safetensors"
    refused(turbulence(*arguments, "--kernel-prior", wrong), tmp_path / "out", "is a kernel denoiser, not a kernel prior")


def test_interrupt_leaves_nothing_half_written(photo, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for when in ("restore", "tilt_picture"):
        with monkeypatch.context() as patch:
            patch.setattr(module, when, interrupted)
            result = turbulence(photo, "-o", tmp_path / "out", "--kernel-size", 9, "--sigma", 0.02, "--steps", 1)
        assert result.exit_code == 130 and "nothing half-written" in result.stderr
        assert {p.name for p in tmp_path.iterdir()} == {"in"}


def test_colours_of_the_wheel():
    field = torch.zeros(1, 2, 1, 4)
    field[0, 0, 0, 1], field[0, 0, 0, 2], field[0, 1, 0, 3] = 2.0, -1.0, 0.5
    white, right, left, down = tilt_colours(field, 2.0)[0, :, 0].T
    assert torch.equal(white, torch.ones(3))
    assert right[0] == right.max() == 1 and left[0] == left.min() and float(left[0]) == pytest.approx(0.5)
    assert down[1] == down.max() and float(down[0]) == pytest.approx(1 - 0.25 * (1 - 0.5 - 0.5 * math.cos(math.pi / 2)))


def test_pictures_of_tilts_of_any_size():
    for size in ((40, 60), (200, 1700)):
        picture = tilt_picture(tilt_maps(1, size, torch.Generator().manual_seed(0)))
        assert picture.height >= 96 and picture.width <= 1800
    assert tilt_picture(torch.zeros(1, 2, 20, 20)).getpixel((20, 20)) == (255, 255, 255)
