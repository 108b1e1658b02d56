"""The protocol of turbulence asks what it says, and its figures mean what they say."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from blindinv.benchmark.bench import Ask, Results
from blindinv.benchmark.records import Record, read
from blindinv.benchmark.rows import Context
from blindinv.benchmark.turbulence import BENCHES, KERNEL, turbulence_task
from blindinv.cli import app
from blindinv.kernels.tilt import end_point_error
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.turbulence import Turbulence

BENCH = BENCHES["turbulence"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(2):
        Image.fromarray(data.astronaut()[i * 20 : i * 20 + 300, 100:400]).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def task(photos: Path):
    return turbulence_task(photos, seed=3, std=1.5)


def test_photo_i_gets_tilt_i_the_blur_and_the_noise(photos, task):
    A = Turbulence(CircularConvolution())
    assert task.config["std"] == 1.5 and task.config["boundary"] == "circular" and task.kernel_size == KERNEL
    for case in task.cases:
        x, tilt = case.truth[:, :3], case.truth[:, 3:]
        assert case.y.shape == (1, 3, 256, 256) and 0.3 < float(tilt.std()) < 0.5
        noise = case.y - A(x, {"kernel": case.kernel, "tilt": tilt})
        assert float(noise.std()) == pytest.approx(0.02, rel=0.02) and abs(float(noise.mean())) < 1e-3
    assert not torch.equal(task.cases[0].truth[:, 3:], task.cases[1].truth[:, 3:])
    (first,) = turbulence_task(photos, limit=1, seed=3, std=1.5).cases
    assert torch.equal(first.y, task.cases[0].y)
    with pytest.raises(ValueError, match="blur must be above 0"):
        turbulence_task(photos, std=0.0)


def test_figures(task):
    batch = task.batch(task.cases, "cpu")
    shift = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)
    moved = torch.cat([batch.truth[:, :3].roll((1, -2), (-2, -1)), batch.truth[:, 3:] + shift], 1)
    for f in task.score(batch, moved, batch.kernel):
        assert f["psnr_shift"] == pytest.approx(120) and f["epe"] < 1e-5 and f["mnc"] == pytest.approx(1, abs=1e-4)
    zero = end_point_error(torch.zeros_like(batch.truth[:, 3:]), batch.truth[:, 3:])
    for f, z in zip(task.score(batch, batch.y, batch.kernel), zero, strict=True):  # a picture alone: no tilt
        assert f["epe"] == pytest.approx(float(z)) and f["psnr"] < 40


def test_the_true_scene_tells_something_of_the_tilt(task):
    batch = task.batch(task.cases[:1], "cpu")
    rows = BENCH.rows(Ask())
    (zero,), (known,) = (task.score(batch, *rows[name].run(batch, Context())) for name in ("blurred", "known-scene"))
    assert known["epe"] < 0.97 * zero["epe"] and known["psnr"] == zero["psnr"]


def test_goals_say_what_was_reached():
    def record(method: str, psnr: float, epe: float) -> Record:
        return Record("b", method, "i", 0, {"device": "cpu"}, {}, {}, {"psnr_shift": psnr, "epe": epe}, 1.0, 1.0)

    lines = [g.line(Results([record("blurred", 20, 0.5), record("turbulence", 22.5, 0.4)])) for g in BENCH.goals]
    assert "+2.50 dB" in lines[0][2] and "0.4000 against 0.5000 pixels, lower on 1 of 1" in lines[1][2]
    lines = [g.line(Results([record("blurred", 20, 0.5), record("turbulence", 21, 0.6)])) for g in BENCH.goals]
    assert all(line[2].endswith("(missed)") for line in lines)


def test_the_command_stores_records_and_pictures(photos, tmp_path):
    out = tmp_path / "t.jsonl"
    arguments = ["bench", "turbulence", "--images", photos, "--limit", 1, "--method", "blurred", "--method", "known-scene"]
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--out", out, "--pictures", tmp_path / "p")])
    assert result.exit_code == 0, result.output
    assert {r.method for r in read(out).values()} == {"blurred", "known-scene"} and "EPE" in out.with_suffix(".md").read_text()
    assert Image.open(tmp_path / "p" / "sheet.png").width > 256
    assert CliRunner().invoke(app, ["bench", "turbulence", "--images", str(tmp_path / "none")]).exit_code == 2
