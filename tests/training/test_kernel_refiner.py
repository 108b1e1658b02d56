"""The recipe of the kernel refiner: its examples are what the method finds, it learns, and the command writes what it should."""

import pytest
import torch
from commands import check_outputs, good, refused, state_of
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from blindinv import load_kernel_refiner
from blindinv.kernels.measure import mnc, normalize
from blindinv.kernels.motion import motion_kernels
from blindinv.operators.fourier import otf
from blindinv.priors.kernel import KernelRefiner, features, mean_kernel
from blindinv.training.kernel_refiner import KERNEL, RefinerLoss, RefinerScores, blurred, example, like


@pytest.fixture(scope="module")
def photos():
    return [torch.from_numpy(data.astronaut()).permute(2, 0, 1).contiguous()]


def thick(count, n=32, seed=0):
    """Examples of one fault: kernels are found too thick."""
    truth = motion_kernels(count, n, 0.5, torch.Generator().manual_seed(seed))
    found = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    return features(found, found, found.repeat(1, 3, 1, 1)), truth


def test_an_example_is_a_blurred_photo(photos):
    problem, k = blurred(photos, 1)
    assert problem.y.shape == (1, 3, 256, 256) and k.shape == (1, 1, KERNEL, KERNEL) and problem.circular
    again = blurred(photos, 1)
    assert torch.equal(problem.y, again[0].y) and torch.equal(k, again[1])
    levels = [blurred(photos, seed)[0].sigma.item() for seed in (2, 4, 6)]
    assert len(set(levels)) == 3 and all(0.0099 < s <= 0.032 for s in levels)
    hidden = otf(k, (256, 256)).abs() < 0.02
    noise = torch.fft.rfft2(problem.y, norm="ortho").abs().square().masked_select(hidden).mean().sqrt().item()
    assert noise == pytest.approx(0.02, rel=0.3), "where the kernel lets nothing through there is only noise"


def test_what_the_method_finds_is_learned_from(photos):
    made = example(photos, 1)
    seen, truth = made["features"], made["truth"]
    assert seen.shape == (1, 6, KERNEL, KERNEL) and truth.shape == (1, 1, KERNEL, KERNEL)
    mean = normalize(mean_kernel(seen[:, :1], seen[:, 1:2]))
    assert float(mnc(mean, truth)) > 0.6
    angle = torch.nn.functional.cosine_similarity(mean.flatten(1), truth.flatten(1))
    torch.testing.assert_close(angle, mnc(mean, truth), atol=1e-4, rtol=0)


def test_the_truth_is_rolled_to_what_was_found():
    k = motion_kernels(1, 32, 0.3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(like(k, k.roll((2, -3), (-2, -1))), k.roll((2, -3), (-2, -1)))


def test_it_learns_to_make_kernels_thin():
    torch.manual_seed(0)
    model, loss, scores = KernelRefiner(6), RefinerLoss(*thick(32), 8), RefinerScores(*thick(8, seed=1))
    before = scores(model)
    assert before["mnc"] == pytest.approx(before["mnc_mean"], abs=1e-5), "at first it is the mean"
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(60):
        optimizer.zero_grad()
        loss(model, torch.Generator().manual_seed(step)).backward()
        optimizer.step()
    after = scores(model)
    assert after["mnc_mean"] == before["mnc_mean"]
    assert after["mnc"] > before["mnc"] + 0.02


def shards(folder, n=32):
    """What `Examples.make` would have made of two examples, one held out."""
    folder.mkdir(parents=True)
    for name, seed, count in (("train", 0, 2), ("held", 10**6, 1)):
        seen, truth = thick(count, n, seed % 7)
        made = {"made": f'{{"seed": {seed}, "examples": {count}}}'}
        save_file({"features": seen.half(), "truth": truth.half()}, folder / f"{name}-00000.safetensors", metadata=made)


def test_command(tmp_path, photos):
    (tmp_path / "two-photos").mkdir()
    Image.fromarray(data.coffee()).save(tmp_path / "two-photos" / "a.png")
    Image.fromarray(data.astronaut()).save(tmp_path / "two-photos" / "b.png")
    out = tmp_path / "r"
    shards(out / "examples")
    tiny = [tmp_path / "two-photos", "--examples", 2, "--channels", 4, "--batch", 2, "--device", "cpu", "--out", out]
    good("kernel-refiner", *tiny, "--steps", 2)
    check_outputs(out / "kernel_refiner.safetensors", "2 crops of photos", "`two-photos`", "mnc_mean", "2 steps")
    model = load_kernel_refiner(out / "kernel_refiner.safetensors")
    assert model.config["channels"] == 4
    good("kernel-refiner", *tiny, "--steps", 3)
    assert state_of(out).step == 3
    assert "was made with" in refused("kernel-refiner", tmp_path / "two-photos", "--examples", 1, "--steps", 3, "--out", out)


def test_no_photo_is_large_enough(tmp_path):
    for name in "ab":
        Image.fromarray(data.coffee()).resize((200, 180)).save(tmp_path / f"{name}.png")
    assert "at least 256 pixels" in refused("kernel-refiner", tmp_path, "--examples", 1, "--steps", 1, "--out", tmp_path / "r")
