"""`blindinv train pixel-prior` on a tiny network, its weights, and warm starts."""

import pytest
import torch
from commands import check_outputs, good, refused
from PIL import Image
from skimage import data

import blindinv.training.pixel_prior as recipe_module
from blindinv.priors.pixel import PixelPrior
from blindinv.training.loop import Plan, train
from blindinv.training.pixel_prior import PhotoCrops, PixelPriorRecipe, export_pixel_prior
from blindinv.zoo import load_kernel_prior, load_prior
from blindinv.zoo.shipped import WEIGHTS

TINY = ["--channels", "16,16", "--crop", "16", "--batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "two-photos"
    folder.mkdir()
    Image.fromarray(data.astronaut()).resize((264, 264)).save(folder / "a.png")
    Image.fromarray(data.chelsea()[:260, :260]).save(folder / "b.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_crops():
    """The spectrum from eight crops instead of four hundred."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_module, "FIT_CROPS", 8)
        yield


def tiny(photos, **settings):
    return PixelPriorRecipe(photos, None, (16, 16), 2, 16, **settings)


def test_the_command(photos, tmp_path):
    good("pixel-prior", photos, "--out", tmp_path, "--steps", 2, *TINY)
    weights = tmp_path / "pixels.safetensors"
    check_outputs(weights, "1 photos of the folder `two-photos`", "ratio_50", "1 centre crop of 256x256 pixels", "16, 16")
    assert isinstance(load_prior(weights), PixelPrior)
    with pytest.raises(ValueError, match="is a pixel prior, not a kernel prior"):
        load_kernel_prior(weights)
    with pytest.raises(ValueError, match="takes no text"):
        load_prior(weights, prompt="a cat")


def test_resumed_is_uninterrupted_and_exported_is_trained(photos, tmp_path):
    runs = {}
    for name, stops in (("whole", (4,)), ("parts", (2, 4))):
        for steps in stops:
            model, loss = tiny(photos).setup()
            runs[name], _ = train(model, loss, tmp_path / name, Plan(steps=steps, cooldown=0))
    for a, b in zip(runs["whole"].state_dict().values(), runs["parts"].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    x = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    prior = export_pixel_prior(
        tmp_path / "whole" / "checkpoint.safetensors", tiny(photos).config(), x, tmp_path / "p.safetensors"
    )
    loaded, z = load_prior(tmp_path / "p.safetensors"), torch.randn(1, 3, 36, 52)
    torch.testing.assert_close(loaded.denoise(z, 200), prior.denoise(z, 200), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(prior.denoise(z, 200), runs["whole"](z, torch.tensor([200])), rtol=1e-4, atol=1e-4)
    assert loaded.spectrum is not None
    assert loaded.image_spectrum is not None


def test_before_training_it_is_the_wiener_filter(photos):
    """And a better denoiser of a photo than the noisy photo, the more so the more noise there is."""
    model, _ = tiny(photos).setup()
    prior = PixelPrior(model, recipe_module.Schedule.linear())
    x = PhotoCrops(tiny(photos).photos()[0]).crops(1, 128, torch.Generator().manual_seed(0))
    for t in (100, 400):
        a = prior.schedule.at(t)
        z_t = a**0.5 * x + (1 - a) ** 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            left = (prior.denoise(z_t, t) - x).square().mean()
        assert left < 0.5 * (1 - a) / a


def test_a_warm_start_takes_the_inner_weights(photos):
    warm, _ = PixelPriorRecipe(photos, crop=16, warm_start="photos").setup()
    source, own = load_prior("photos").denoiser.network.state_dict(), warm.network.network.state_dict()
    differ = {k for k in own if own[k].shape != source[k].shape}
    assert differ == {"conv_in.weight", "conv_out.weight", "conv_out.bias"}
    assert all(torch.equal(own[k], source[k]) for k in own.keys() - differ)


def test_wrong_options(photos, tmp_path):
    arguments = ("pixel-prior", photos, "--out", tmp_path / "out", *TINY)
    assert "give photos, pixels, or an existing" in refused(*arguments, "--warm-start", "dogs")
    assert "other channels" in refused(*arguments, "--warm-start", "photos")
    assert "other channels" in refused(*arguments, "--warm-start", WEIGHTS / "kernel_denoiser.safetensors")
    assert "multiple of 8" in refused("pixel-prior", photos, "--out", tmp_path / "out", "--crop", "20", "--channels", "16,16")
    Image.fromarray(data.astronaut()).resize((200, 200)).save(tmp_path / "a.png")
    Image.fromarray(data.astronaut()).resize((200, 200)).save(tmp_path / "b.png")
    assert "at least 256 pixels" in refused("pixel-prior", tmp_path, "--out", tmp_path / "out", *TINY)
    assert not (tmp_path / "out").exists()
