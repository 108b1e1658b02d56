import errno
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage.data import astronaut
from torch import nn
from typer.testing import CliRunner

import blindinv.photo.results as results_module
import blindinv.photo.run as run_module
from blindinv.cli import app
from blindinv.kernels.measure import delta
from blindinv.methods.method import Models
from blindinv.operators.noise import level
from blindinv.photo.read import read_photo
from blindinv.problem import Deblurring, Result
from blindinv.protocols import randn
from blindinv.solve import Progress

FILES = {"image.png", "kernel.npy", "kernel.png", "comparison.png", "report.json"}
runner = CliRunner()


def fake_deblur(
    y,
    *,
    method,
    prior,
    denoiser,
    refiner,
    kernel_prior,
    restorer,
    kernel_size,
    sigma,
    circular,
    kernel,
    steps,
    skip,
    samples,
    seed,
    record,
):
    """Adds noise of the seed; as quick as can be, and with the interface of the real one."""
    problem = Deblurring.of(y, sigma, kernel_size, circular, kernel, seed, samples)
    k = delta(problem.kernel_size, len(problem.y)) if kernel is None else problem.kernel
    x = (problem.y + 0.05 * randn(tuple(problem.y.shape), problem.rng)).clamp(0, 1)
    for i in range(3):
        record(Progress(i + 1, 3, 2 - i, True, k, x, x))
    return Result(x, k, level(problem.sigma), [])


def fake_models(method, *, prior, kernel_prior, restorer, device, dtype):
    if prior == "sd":
        raise ImportError("Stable Diffusion needs transformers: pip install 'blindinv[sd]'")
    if prior not in (None, "photos"):
        raise ValueError(f"unknown prior '{prior}': give 'photos', a folder or a hub id")
    return Models(nn.BatchNorm2d(3), nn.Identity())


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(run_module, "deblur", fake_deblur)
    monkeypatch.setattr(run_module, "load_models", fake_models)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "in" / "face.png"
    path.parent.mkdir()
    Image.fromarray(astronaut()[60:108, 190:254]).save(path)
    return path


def deblur(*arguments):
    return runner.invoke(app, ["deblur", *map(str, arguments)])


def refused(result, out, *words):
    """Exit code 2, one line that says what was wrong, and nothing written."""
    assert result.exit_code == 2, (result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("blindinv: ") and result.stdout == "", result.output
    assert all(word in lines[0] for word in words), lines[0]
    assert not out.exists()


def test_writes_everything_and_the_report_says_what(fakes, photo, tmp_path):
    out = tmp_path / "out" / "deep"
    result = deblur(photo, "-o", out, "--kernel-size", 9, "--sigma", 0.03, "--seed", 4, "--skip", "8,500", "--steps", 16)
    assert result.exit_code == 0, result.output
    assert {p.name for p in (out / "face").iterdir()} == FILES
    assert [p.name for p in out.iterdir()] == ["face"]
    report = json.loads((out / "face" / "report.json").read_text())
    assert report["parameters"]["skip"] == [8, 500] and report["parameters"]["steps"] == 16 and report["parameters"]["seed"] == 4
    assert report["sigma"] == pytest.approx(0.03) and report["boundary"] == "free" and not report["sigma_estimated"]
    assert report["seconds"] >= 0 and set(report["versions"]) >= {"blindinv", "torch", "python"}
    assert len(report["weights_sha256"]["prior"]) == 64 and report["figures"] == {}
    kernel = np.load(out / "face" / "kernel.npy")
    assert kernel.shape == (9, 9) and kernel.sum() == pytest.approx(1)
    assert read_photo(out / "face" / "image.png").pixels.shape == (1, 3, 48, 64)
    assert "0.0300" in result.stdout and "free" in result.stdout


def test_same_seed_same_bytes_other_seed_other_bytes(fakes, photo, tmp_path):
    contents = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert deblur(photo, "-o", tmp_path / out, "--kernel-size", 9, "--samples", 2, "--seed", seed).exit_code == 0
        contents.append({p.name: p.read_bytes() for p in (tmp_path / out / "face").iterdir()})
    reports = [json.loads(c.pop("report.json")) for c in contents]
    assert contents[0] == contents[1] and contents[0]["image.png"] != contents[2]["image.png"]
    for report in reports:
        del report["seconds"], report["peak_memory_mib"]
    assert reports[0] == reports[1]
    assert set(contents[0]) == FILES - {"report.json"} | {"std.png"} and reports[0]["std_white"] > 0


def test_json_gives_one_line_a_photo(fakes, photo, tmp_path):
    second = photo.with_name("other.jpg")
    Image.open(photo).convert("L").save(second)
    result = deblur(photo, second, "-o", tmp_path / "out", "--kernel-size", 9, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["photo"] for row in rows] == [str(photo), str(second)] and result.stderr == ""
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"face", "other"}
    assert read_photo(tmp_path / "out" / "other" / "image.png").grey


def test_figures_with_the_truth(fakes, photo, tmp_path):
    truth = read_photo(photo)
    kernel = tmp_path / "k.npy"
    np.save(kernel, delta(9)[0, 0].numpy())
    result = deblur(photo, "-o", tmp_path / "out", "--kernel", kernel, "--truth", photo, "--true-kernel", kernel)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "face" / "report.json").read_text())
    assert report["kernel_size"] == 9
    assert report["figures"]["before"] == {"psnr": pytest.approx(120), "ssim": pytest.approx(1), "shift": [0, 0]}
    after = read_photo(tmp_path / "out" / "face" / "image.png").pixels
    expected = -10 * float((after - truth.pixels).square().mean().log10())
    assert report["figures"]["after"]["psnr"] == pytest.approx(expected, abs=0.05)
    assert report["figures"]["kernel"] == {"mse": pytest.approx(0, abs=1e-9), "mnc": pytest.approx(1)}


def test_linear_light_goes_there_and_back(fakes, photo, tmp_path, monkeypatch):
    seen = []

    def identity(y, *, sigma, kernel_size, **rest):
        seen.append(y)
        return Result(y, delta(kernel_size), sigma, [])

    monkeypatch.setattr(run_module, "deblur", identity)
    assert deblur(photo, "-o", tmp_path / "out", "--kernel-size", 9, "--linear").exit_code == 0
    pixels = read_photo(photo).pixels
    assert (seen[0] <= pixels + 1e-6).all() and seen[0].mean() < pixels.mean() - 0.05
    assert torch.equal(read_photo(tmp_path / "out" / "face" / "image.png").pixels, pixels)


def test_photons_make_a_noise_map(fakes, photo, tmp_path):
    """The report has its root mean square: of a mean of about 0.4 and 100 photons, (0.4 / 100)^(1/2)."""
    assert deblur(photo, "-o", tmp_path, "--kernel-size", 9, "--photons", 100).exit_code == 0
    report = json.loads((tmp_path / "face" / "report.json").read_text())
    mean = astronaut()[60:108, 190:254].mean() / 255
    assert report["sigma"] == pytest.approx((mean / 100) ** 0.5, rel=0.02) and not report["sigma_estimated"]
    assert report["parameters"]["photons"] == 100


def test_deep_photos_with_metadata(fakes, photo, tmp_path):
    deep = tmp_path / "in" / "deep.tif"
    tifffile.imwrite(deep, astronaut()[:40, :60].astype(np.uint16) * 257, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert deblur(deep, "-o", tmp_path / "out", "--kernel-size", 9).exit_code == 0
    written = read_photo(tmp_path / "out" / "deep" / "image.png")
    assert written.bits == 16 and written.pixels.shape == (1, 3, 60, 40)


def test_the_number_of_threads_is_chosen_and_reported(fakes, photo, tmp_path):
    before = torch.get_num_threads()
    try:
        for arguments, expected in (((), before), (("--threads", 3), 3)):
            assert deblur(photo, "-o", tmp_path / "out", "--kernel-size", 9, *arguments).exit_code == 0
            report = json.loads((tmp_path / "out" / "face" / "report.json").read_text())
            assert report["threads"] == torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def write_bad_files(folder):
    data = (folder / "face.png").read_bytes()
    (folder / "text.jpg").write_text("not a picture")
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (64, 9)).save(folder / "thin.png")
    tifffile.imwrite(folder / "nan.tif", np.full((40, 40, 3), np.nan, np.float32), photometric="rgb")
    tifffile.imwrite(folder / "below.tif", np.linspace(-0.1, 0.9, 4800, dtype=np.float32).reshape(40, 40, 3), photometric="rgb")
    np.save(folder / "flat.npy", np.ones(9))
    np.save(folder / "negative.npy", -np.ones((9, 9)))
    np.save(folder / "zero.npy", np.zeros((9, 9)))
    (folder / "pickled.npy").write_bytes(pickle.dumps(np.ones((9, 9))))
    (folder / "file").write_text("")


BAD = {
    "not-an-image": (["text.jpg"], "not a JPEG"),
    "truncated": (["cut.png"], "cut off"),
    "one-pixel": (["dot.png"], "1x1"),
    "smaller-than-kernel": (["thin.png"], "too small for a 9x9 kernel"),
    "default-kernel-too-large": (["face.png", "--kernel-size", "64"], "--kernel-size"),
    "nan": (["nan.tif"], "NaN"),
    "missing": (["none.png"], "no such file"),
    "second-is-bad": (["face.png", "cut.png"], "cut.png"),
    "method": (["face.png", "--method", "magic"], "magic", "latentdem, "),
    "prior": (["face.png", "--prior", "magic"], "unknown prior 'magic'"),
    "extra": (["face.png", "--prior", "sd"], "blindinv[sd]"),
    "kernel-shape": (["face.png", "--kernel", "flat.npy"], "a kernel is square"),
    "kernel-negative": (["face.png", "--kernel", "negative.npy"], "negative"),
    "kernel-zero": (["face.png", "--kernel", "zero.npy"], "zero"),
    "kernel-pickled": (["face.png", "--kernel", "pickled.npy"], "pickled objects are refused"),
    "kernel-missing": (["face.png", "--kernel", "none.npy"], "no such file"),
    "kernel-photo": (["face.png", "--kernel", "face.png"], "a kernel is square"),
    "true-kernel": (["face.png", "--true-kernel", "zero.npy"], "zero"),
    "truth-size": (["face.png", "--truth", "thin.png"], "one size"),
    "truth-of-two": (["face.png", "thin.png", "--truth", "face.png"], "one photo"),
    "same-name": (["face.png", "../in/face.png"], "both be written"),
    "sigma-negative": (["face.png", "--sigma", "-0.1"], "--sigma -0.1", "[0, 1]"),
    "sigma-scale": (["face.png", "--sigma", "5"], "255"),
    "sigma-nan": (["face.png", "--sigma", "nan"], "--sigma nan"),
    "sigma-text": (["face.png", "--sigma", "much"], "--sigma much"),
    "photons-zero": (["face.png", "--photons", "0"], "--photons 0"),
    "photons-negative": (["below.tif", "--photons", "50"], "-0.1", "[0, 1]"),
    "boundary": (["face.png", "--boundary", "round"], "auto, free or circular"),
    "circular-size": (["face-50.png", "--boundary", "circular"], "multiples of 16"),
    "skip-text": (["face.png", "--skip", "often"], "K,S_T"),
    "skip-zero": (["face.png", "--skip", "0,500"], "K >= 1"),
    "skip-three": (["face.png", "--skip", "8,500,1"], "K,S_T"),
    "kernel-size": (["face.png", "--kernel-size", "3"], "9 to 129"),
    "steps": (["face.png", "--steps", "0"], "--steps 0"),
    "samples": (["face.png", "--samples", "0"], "--samples 0"),
    "seed": (["face.png", "--seed", "-1"], "--seed -1"),
    "device": (["face.png", "--device", "abacus"], "--device abacus"),
    "precision": (["face.png", "--precision", "half"], "--precision half"),
    "threads": (["face.png", "--threads", "0"], "--threads 0"),
    "folder": (["."], "not a file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(fakes, photo, tmp_path, monkeypatch, name):
    monkeypatch.chdir(photo.parent)
    write_bad_files(photo.parent)
    Image.open(photo).crop((0, 0, 50, 40)).save(photo.with_name("face-50.png"))
    arguments, *words = BAD[name]
    refused(deblur("--kernel-size", 9, *arguments, "-o", tmp_path / "out"), tmp_path / "out", *words)


def test_cuda_asked_for_and_absent(fakes, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused(deblur(photo, "-o", tmp_path / "out", "--device", "cuda"), tmp_path / "out", "no such CUDA device")


def test_out_that_cannot_be_written(fakes, photo, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    refused(deblur(photo, "-o", tmp_path / "file" / "x", "--kernel-size", 9), tmp_path / "file" / "x", "cannot be written")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
        refused(deblur(photo, "-o", tmp_path / "out", "--kernel-size", 9), tmp_path / "out", "cannot be written")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    refused(deblur(photo, "-o", tmp_path / "out", "--kernel-size", 9), tmp_path / "out", "No space left")


def test_files_of_others_are_not_overwritten(fakes, photo, tmp_path):
    (tmp_path / "out" / "face").mkdir(parents=True)
    (tmp_path / "out" / "face" / "holiday.jpg").write_text("precious")
    result = deblur(photo, "-o", tmp_path / "out", "--kernel-size", 9)
    assert result.exit_code == 2 and "holds files" in result.stderr
    assert [p.name for p in (tmp_path / "out" / "face").iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(("module", "when"), [(run_module, "deblur"), (results_module, "comparison")])
def test_interrupt_leaves_nothing_half_written(fakes, photo, tmp_path, monkeypatch, module, when):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    first = deblur(photo, "-o", tmp_path / "before", "--kernel-size", 9)
    assert first.exit_code == 0
    old = (tmp_path / "before" / "face" / "report.json").read_bytes()
    monkeypatch.setattr(module, when, interrupted)
    for out in ("out", "before"):
        result = deblur(photo, "-o", tmp_path / out, "--kernel-size", 9)
        assert result.exit_code == 130
    assert {p.name for p in tmp_path.iterdir()} == {"in", "before"}
    assert [p.name for p in (tmp_path / "before").iterdir()] == ["face"]
    assert (tmp_path / "before" / "face" / "report.json").read_bytes() == old


def test_help_does_not_wait_for_torch():
    code = "import sys; from blindinv.cli import app; assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert deblur("--help").exit_code == 0
    assert runner.invoke(app, ["--version"]).stdout.strip()


def test_the_real_thing_twice(photo, tmp_path):
    Image.fromarray(astronaut()[60:140, 180:276]).save(photo)
    contents = []
    for out in ("a", "b"):
        result = deblur(photo, "-o", tmp_path / out, "--kernel-size", 15, "--steps", 2)
        assert result.exit_code == 0, (result.output, result.exception)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / out / "face").iterdir() if p.name != "report.json"})
    assert contents[0] == contents[1]
    kernel = np.load(tmp_path / "a" / "face" / "kernel.npy")
    assert kernel.shape == (15, 15) and kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-4)
    refused(deblur(photo, "-o", tmp_path / "c", "--prior", "magic", "--kernel-size", 15), tmp_path / "c", "unknown prior 'magic'")
    refused(deblur(photo, "-o", tmp_path / "c", "--method", "magic", "--kernel-size", 15), tmp_path / "c", "latentdem")


def test_the_methods_are_listed_with_what_they_need():
    plain = runner.invoke(app, ["methods"])
    assert plain.exit_code == 0 and plain.output.index("latentdem ") < plain.output.index("psld ")
    listed = [json.loads(line) for line in runner.invoke(app, ["methods", "--json"]).stdout.splitlines()]
    assert listed[0]["name"] == "latentdem" and listed[0]["needs"] == ["prior", "denoiser"] and listed[0]["prior"] == "photos"
    assert all(m["summary"] and m["when"] and m["cost"] and m["paper"] for m in listed)
