"""What the protocols ask is what they say they ask."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from blindinv.baselines.sparse import sparse_deconvolution
from blindinv.benchmark.levin import levin_task, turn
from blindinv.benchmark.photos64 import photos64_task, square
from blindinv.kernels.motion import motion_kernels
from blindinv.operators.convolution import CircularConvolution


def photos(folder: Path, count: int = 2) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(data.astronaut()[i * 20 : i * 20 + 300, 100:400]).save(folder / f"{i}.png")
    return folder


def camera_shake(folder: Path, flipped: bool) -> Path:
    """Two blurred pictures in the layout of Levin et al., the kernel stored as it is or turned."""
    (folder / "gt").mkdir(parents=True)
    truth = torch.from_numpy(data.camera()[:160, 180:340] / 255.0)[None, None].float()
    k = motion_kernels(1, 17, 0.8, torch.Generator().manual_seed(1))
    stored = k.flip(-2, -1) if flipped else k
    blurred = CircularConvolution()(truth, k).clamp(0, 1)

    def save(x: torch.Tensor, name: str) -> None:
        Image.fromarray((x[0, 0] * 255).round().byte().numpy()).save(folder / name)

    save(truth, "gt/im1.png")
    save(stored / stored.max(), "gt/kernel2.png")
    save(blurred, "im1_kernel2_img.png")
    return folder


def test_photos64_blurs_photo_i_with_kernel_i(tmp_path: Path):
    task = photos64_task(photos(tmp_path / "in"), seed=3, sigma=0.02)
    kernels = motion_kernels(64, 64, 0.5, torch.Generator().manual_seed(3))
    assert [c.name for c in task.cases] == ["0.png", "1.png"]
    for i, case in enumerate(task.cases):
        assert case.truth.shape == case.y.shape == (1, 3, 256, 256)
        assert torch.equal(case.kernel, kernels[i : i + 1])
        noise = case.y - CircularConvolution()(case.truth, case.kernel)
        assert noise.std() == pytest.approx(0.02, rel=0.02) and noise.mean().abs() < 1e-3
    first = photos64_task(tmp_path / "in", limit=1, seed=3, sigma=0.02).cases
    assert len(first) == 1 and torch.equal(first[0].y, task.cases[0].y)


def test_photos64_figures_forgive_a_shift(tmp_path: Path):
    task = photos64_task(photos(tmp_path / "in"))
    batch = task.batch(task.cases, "cpu")
    figures = task.score(batch, batch.truth.roll((3, -5), (-2, -1)), batch.kernel.roll((-3, 5), (-2, -1)))
    for f in figures:
        assert f["psnr"] < 40 and f["psnr_shift"] == pytest.approx(120) and f["ssim"] == pytest.approx(1)
        assert f["mnc"] == pytest.approx(1, abs=1e-4) and f["kernel_mse"] < 1e-6


def test_square_takes_the_middle():
    wide = Image.fromarray(np.tile(np.arange(90, dtype=np.uint8)[None, :, None], (30, 1, 3)))
    middle = np.asarray(square(wide, 30))
    assert middle.shape == (30, 30, 3) and middle[0, 0, 0] == 30 and middle[0, -1, 0] == 59


@pytest.mark.parametrize("flipped", [False, True])
def test_levin_finds_how_the_kernel_lies(tmp_path: Path, flipped: bool):
    task = levin_task(camera_shake(tmp_path / "in", flipped), kernel_size=21)
    (case,) = task.cases
    k = motion_kernels(1, 17, 0.8, torch.Generator().manual_seed(1))
    assert case.name == "im1_kernel2" and case.kernel.shape == (1, 1, 21, 21)
    assert torch.allclose(case.kernel[..., 2:19, 2:19], k, atol=2e-3)
    assert case.sigma == pytest.approx(0.01, abs=0.005)
    figures = task.score(task.batch([case], "cpu"), case.truth, case.kernel)
    assert figures[0]["psnr_shift"] > 100 and figures[0]["mnc"] == pytest.approx(1, abs=1e-3)


def test_error_ratio_is_one_for_the_deconvolution_with_the_true_kernel(tmp_path: Path):
    task = levin_task(camera_shake(tmp_path / "in", False), kernel_size=21)
    batch = task.batch(task.cases, "cpu")
    (reference,) = task.score(batch, sparse_deconvolution(batch.problem()), batch.kernel)
    assert reference["error_ratio"] == pytest.approx(1, rel=1e-4)
    (blurred,) = task.score(batch, batch.y, batch.kernel)
    gap = reference["psnr_shift"] - blurred["psnr_shift"]
    assert gap > 3 and blurred["error_ratio"] == pytest.approx(10 ** (gap / 10), rel=1e-3)


def test_turn_allows_for_a_shift():
    truth = torch.from_numpy(data.camera()[:128, 180:308] / 255.0)[None, None].float()
    k = motion_kernels(1, 17, 0.8, torch.Generator().manual_seed(1))
    y = CircularConvolution()(truth, k).roll((3, -2), (-2, -1))
    assert torch.equal(turn(k, y, truth), k)
    assert torch.equal(turn(k.flip(-2, -1), y, truth), k)


def test_bad_folders(tmp_path: Path):
    with pytest.raises(ValueError, match="not a folder with pictures"):
        photos64_task(tmp_path / "none")
    with pytest.raises(ValueError, match="not a folder with pictures"):
        levin_task(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read"):
        photos64_task(tmp_path)
    folder = camera_shake(tmp_path / "levin", False)
    (folder / "gt" / "im1.png").unlink()
    with pytest.raises(ValueError, match=r"im1\.png is missing"):
        levin_task(folder)
