"""`blindinv train tilt-prior` on a tiny network, and its weights."""

import pytest
import torch
from commands import check_outputs, good, refused

from blindinv.training import tilt_prior
from blindinv.training.loop import Plan, train
from blindinv.training.tilt_prior import TiltCrops, TiltPriorRecipe, validation_states
from blindinv.zoo import load_kernel_prior, load_prior, load_tilt_prior

TINY = ["--channels", "16,16", "--crop", "16", "--batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def few_maps():
    """The spectrum from forty maps instead of two thousand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilt_prior, "FIT_MAPS", 40)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tilt-prior")
    good("tilt-prior", "--out", folder, "--steps", 3, *TINY)
    return folder


def test_weights_card_and_pictures(trained):
    check_outputs(trained / "tilt.safetensors", "16x16", "ratio_420", "3 steps")
    prior = load_tilt_prior(trained / "tilt.safetensors")
    for size in ((24, 40), (18, 13)):
        z = torch.randn(2, 2, *size)
        assert prior.shape((2, 3, *size)) == z.shape
        assert prior.denoise(z, 300).shape == z.shape
        torch.testing.assert_close(prior.encode(prior.decode(z)), z)


def test_resumed_is_uninterrupted(tmp_path):
    runs = {}
    for name, stops in (("whole", (4,)), ("parts", (2, 4))):
        for steps in stops:
            model, loss = TiltPriorRecipe((16, 16), 2, 16).setup()
            runs[name], _ = train(model, loss, tmp_path / name, Plan(steps=steps, cooldown=0))
    for a, b in zip(runs["whole"].state_dict().values(), runs["parts"].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_states_have_unit_variance_and_the_denoiser_knows_their_spectrum():
    z = validation_states()
    assert abs(float(z.std()) - 1) < 0.03
    model, _ = TiltPriorRecipe((16, 16), 2, 16).setup()
    for t in (200, 500):
        a = model.abar[t]
        z_t = a.sqrt() * z + (1 - a).sqrt() * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            left = (model(z_t, torch.full((len(z),), t)) - z).square().mean()
        assert left < 0.93 * (1 - a)  # the best filter that treats every pixel by itself leaves 1 - abar


def test_crops_are_drawn_from_the_generator():
    draw = lambda seed: TiltCrops().crops(2, 16, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_other_kinds_and_wrong_options(trained, tmp_path):
    weights = trained / "tilt.safetensors"
    with pytest.raises(ValueError, match=r"tilt.safetensors is a tilt prior, not a kernel prior$"):
        load_kernel_prior(weights)
    with pytest.raises(ValueError, match=r"tilt.safetensors is a tilt prior, not a prior of images$"):
        load_prior(weights)
    with pytest.raises(ValueError, match="neither 'tilt' nor an existing file"):
        load_tilt_prior(tmp_path / "none.safetensors")
    assert "multiple of 4" in refused("tilt-prior", "--out", tmp_path / "out", "--crop", "20", "--channels", "16,16,16")
