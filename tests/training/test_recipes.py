"""The training commands, end to end on tiny networks: weights that load, cards, pictures, resuming, bad input."""

import re

import pytest
import torch
from commands import call, check_outputs, good, refused, same, state_of
from PIL import Image
from safetensors.torch import load_file
from skimage import data

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.kernel import KernelDenoiser
from blindinv.training.figures import loss_curve
from blindinv.training.kernel_denoiser import KernelDenoiserLoss
from blindinv.training.prior import PriorLoss
from blindinv.zoo.shipped import build_prior, read_weights

AUTOENCODER = ["--latent-channels", "4", "--width", "8,8", "--depth", "1,1", "--crop", "32", "--batch", "2", "--device", "cpu"]
PRIOR = ["--channels", "16,16", "--crop", "16", "--batch", "2", "--device", "cpu"]
KERNEL = ["--size", "17", "--channels", "4", "--depth", "3", "--batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "three-photos"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        picture = Image.fromarray(getattr(data, name)())
        scale = 272 / min(picture.size)
        picture.resize([round(scale * n) for n in picture.size]).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """An autoencoder after three steps, and a prior on top of it after two."""
    folder = tmp_path_factory.mktemp("runs")
    good("autoencoder", photos, "--out", folder / "ae", "--steps", 3, *AUTOENCODER)
    good("prior", photos, "--autoencoder", folder / "ae", "--out", folder / "prior", "--steps", 3, *PRIOR)
    return folder


def test_autoencoder(trained, photos):
    weights = trained / "ae" / "autoencoder.safetensors"
    card = check_outputs(weights, "2 photos of the folder `three-photos`", "3 steps", "psnr", "8, 8")
    assert str(photos.parent) not in card
    tensors, config = read_weights(weights)
    model = PatchAutoencoder(**config)
    model.load_state_dict(tensors)
    row = state_of(trained / "ae").history[-1]
    assert row["psnr"] > 15
    assert f"| psnr | {row['psnr']:.4g} |" in card
    assert all(v.dtype == torch.float16 for v in load_file(weights).values())


def test_prior(trained):
    weights = trained / "prior" / "photos.safetensors"
    check_outputs(weights, "2 photos of the folder `three-photos`", "ratio_50", "1 centre crop of 256x256 pixels", "16, 16")
    prior = build_prior(*read_weights(weights))
    x = torch.rand(1, 3, 64, 64)
    assert prior.decode(prior.denoise(prior.encode(x), 100)).shape == x.shape
    statistics = load_file(trained / "prior" / "statistics.safetensors")
    torch.testing.assert_close(prior.shift.flatten(), statistics["shift"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(prior.scale.flatten(), statistics["scale"], rtol=1e-3, atol=1e-4)


def test_a_finished_run_is_left_as_it_is_and_more_steps_go_on(trained, photos):
    out = trained / "ae"
    before = (out / "checkpoint.safetensors").read_bytes()
    good("autoencoder", photos, "--out", out, "--steps", 3, *AUTOENCODER)
    assert (out / "checkpoint.safetensors").read_bytes() == before
    latents = (trained / "prior" / "latents.safetensors").stat().st_mtime_ns
    arguments = ("prior", photos, "--autoencoder", out, "--out", trained / "prior", *PRIOR)
    good(*arguments, "--steps", 4)
    state = state_of(trained / "prior")
    assert [row["step"] for row in state.history] == [3, 4]
    assert (trained / "prior" / "latents.safetensors").stat().st_mtime_ns == latents
    assert "4 steps" in (trained / "prior" / "photos.md").read_text()


def test_an_interrupted_and_resumed_prior_is_the_uninterrupted_one(trained, photos, tmp_path, monkeypatch):
    validation = tmp_path / "validation"
    validation.mkdir()
    Image.fromarray(data.chelsea()[:160, :160]).save(validation / "cat.png")

    def arguments(out):
        return (
            "prior", photos, "--validation", validation, "--autoencoder", trained / "ae",
            "--out", tmp_path / out, "--steps", 5, "--checkpoint-every", 0, *PRIOR,
        )  # fmt: skip

    good(*arguments("whole"))
    compute, calls = PriorLoss.__call__, []

    def interrupted(self, model, generator):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return compute(self, model, generator)

    with monkeypatch.context() as patch:
        patch.setattr(PriorLoss, "__call__", interrupted)
        result = call(*arguments("parts"))
    assert result.exit_code == 130
    assert "goes on from the last checkpoint" in result.stderr
    assert state_of(tmp_path / "parts").step == 3
    assert not (tmp_path / "parts" / "photos.safetensors").exists()
    good(*arguments("parts"))
    for name in ("checkpoint", "photos"):
        assert same(*(tmp_path / run / f"{name}.safetensors" for run in ("whole", "parts")))


def test_kernel_denoiser_in_one_process(tmp_path):
    result = good("kernel-denoiser", "--out", tmp_path, "--steps", 3, *KERNEL)
    assert "rmse_over_sigma_0.001" in result.stdout
    weights = tmp_path / "kernel_denoiser.safetensors"
    check_outputs(weights, "17x17", "log_mean", "3 steps")
    tensors, config = read_weights(weights)
    KernelDenoiser(**config).load_state_dict(tensors)


def test_two_processes_average_their_gradients(tmp_path):
    """The first step moves the weights by the mean gradient of both processes' batches."""
    good("kernel-denoiser", "--out", tmp_path, "--steps", 1, "--processes", 2, *KERNEL)
    torch.manual_seed(0)
    model, loss, gradient = KernelDenoiser(4, 3), KernelDenoiserLoss(17, 2), 0
    for rank in range(2):
        model.zero_grad()
        loss(model, torch.Generator().manual_seed(rank)).backward()
        gradient = gradient + torch.cat([p.grad.flatten() for p in model.parameters()]) / 2
    gradient = gradient * min(1.0, 1 / float(gradient.norm()))
    tensors = load_file(tmp_path / "checkpoint.safetensors")
    moments = torch.cat([tensors[f"optimizer.{i}.exp_avg"].flatten() for i in range(len(list(model.parameters())))])
    torch.testing.assert_close(moments, 0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_a_time_budget_stops_it(tmp_path):
    good("kernel-denoiser", "--out", tmp_path, "--time-budget", "0.01m", *KERNEL)
    state = state_of(tmp_path)
    assert state.step > 1
    assert 0.5 < state.seconds < 5


@pytest.mark.parametrize("text", ["2", "h", "-3s", "0s", "1h 30m", "soon", "2d"])
def test_a_wrong_time_budget(text, tmp_path):
    line = refused("kernel-denoiser", "--out", tmp_path / "out", "--time-budget", text, *KERNEL)
    assert re.search("2h, 30m", line)
    assert not (tmp_path / "out").exists()


def test_bad_folders(tmp_path, photos):
    assert "is not a folder" in refused("autoencoder", tmp_path / "none", "--out", tmp_path / "out", *AUTOENCODER)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images in" in refused("autoencoder", empty, "--out", tmp_path / "out", *AUTOENCODER)
    assert "is not a folder" in refused(
        "autoencoder", photos, "--validation", tmp_path / "none", "--out", tmp_path / "out", *AUTOENCODER
    )
    Image.fromarray(data.chelsea()[:160, :160]).save(empty / "one.png")
    assert "only one photo" in refused("autoencoder", empty, "--out", tmp_path / "out", *AUTOENCODER)
    assert not (tmp_path / "out").exists()


def test_photos_too_small_for_a_prior(trained, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(data.chelsea()[:200, i : i + 200]).save(folder / f"{i}.png")
    line = refused("prior", folder, "--autoencoder", trained / "ae", "--out", tmp_path / "out", *PRIOR)
    assert "at least 256 pixels" in line
    assert not (tmp_path / "out").exists()


def test_checkpoints_of_other_networks(trained, photos, tmp_path):
    other = ["--width", "8,16"]
    assert "another network" in refused("autoencoder", photos, "--out", trained / "ae", "--steps", 9, *AUTOENCODER, *other)
    arguments = ("prior", photos, "--out", tmp_path / "out", *PRIOR)
    assert "run `blindinv train autoencoder` first" in refused(*arguments, "--autoencoder", tmp_path)
    assert "not the checkpoint of an autoencoder" in refused(*arguments, "--autoencoder", trained / "prior")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    refused(*arguments, "--autoencoder", tmp_path)
    good("autoencoder", photos, "--out", tmp_path / "ae", "--steps", 1, "--seed", 1, *AUTOENCODER)
    line = refused("prior", photos, "--autoencoder", tmp_path / "ae", "--out", trained / "prior", "--steps", 9, *PRIOR)
    assert "latents of another autoencoder" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prior", "--channels", "24,32"), "multiples of 16"),
        (("prior", "--channels", "a"), "whole numbers"),
        (("prior", "--channels", "16,16,16", "--crop", "10"), "multiple of 4"),
        (("autoencoder", "--width", "8"), "two numbers"),
        (("autoencoder", "--crop", "30"), "multiple of 4"),
        (("autoencoder", "--device", "abacus"), "auto, cpu, cuda"),
    ],
)
def test_wrong_options(arguments, words, photos, tmp_path):
    command, *options = arguments
    assert words in refused(command, photos, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_loss_curves_of_short_and_broken_histories():
    for history in ([], [{"step": 5, "loss": 0.1}], [{"step": s, "loss": v} for s, v in ((1, 1.0), (2, 0.0), (3, float("nan")))]):
        assert loss_curve(history).size == (640, 360)
