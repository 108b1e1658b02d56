"""`blindinv train kernel-prior` on a tiny network, and its weights."""

import pytest
import torch
from commands import call, check_outputs, good, refused, same, state_of

from blindinv.training.kernel_prior import KernelPriorLoss, KernelPriorRecipe
from blindinv.training.loop import Plan, train
from blindinv.training.prior import certainty
from blindinv.zoo import load_kernel_prior, load_prior

TINY = ["--size", "18", "--channels", "16,16", "--bank", "40", "--batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel-prior")
    good("kernel-prior", "--out", folder, "--steps", 3, *TINY)
    return folder


def test_weights_card_and_pictures(trained):
    weights = trained / "kernels18.safetensors"
    check_outputs(weights, "18x18", "ratio_420", "3 steps", "| bank | 40 |")
    prior = load_kernel_prior(weights)
    assert prior.size == 18
    z = torch.randn(2, 1, 18, 18)
    k = prior.decode(prior.denoise(z, 500))
    torch.testing.assert_close(k.sum((1, 2, 3)), torch.ones(2))
    assert not any(p.requires_grad for p in prior.parameters())


def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(tmp_path, monkeypatch):
    arguments = lambda out: ("kernel-prior", "--out", tmp_path / out, "--steps", 4, "--checkpoint-every", 0, *TINY)  # noqa: E731
    good(*arguments("whole"))
    compute, calls = KernelPriorLoss.__call__, []

    def interrupted(self, model, generator):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(self, model, generator)

    with monkeypatch.context() as patch:
        patch.setattr(KernelPriorLoss, "__call__", interrupted)
        assert call(*arguments("parts")).exit_code == 130
    assert state_of(tmp_path / "parts").step == 2
    good(*arguments("parts"))
    for name in ("checkpoint", "kernels18"):
        assert same(*(tmp_path / run / f"{name}.safetensors" for run in ("whole", "parts")))


def test_it_learns(tmp_path):
    """Forty steps leave less error than independent Gaussian pixels, on kernels that it has not seen."""
    recipe = KernelPriorRecipe(size=12, channels=(16, 16), bank=300, batch=16)
    model, loss = recipe.setup()
    train(model, loss, tmp_path, Plan(steps=40, lr=3e-3, ema=0.9, warmup=5))
    generator = torch.Generator().manual_seed(9)
    losses = torch.stack([loss(model, generator).detach() for _ in range(8)])
    untrained, _ = recipe.setup()
    before = torch.stack([loss(untrained, torch.Generator().manual_seed(9)).detach() for _ in range(8)])
    assert losses.mean() < 0.9 * before.mean()


def test_wrong_options(tmp_path):
    assert "multiples of 16" in refused("kernel-prior", "--out", tmp_path / "out", "--channels", "20")
    assert not (tmp_path / "out").exists()


def test_files_of_other_kinds(trained, tmp_path):
    weights = trained / "kernels18.safetensors"
    with pytest.raises(ValueError, match=r"kernels18.safetensors is a kernel prior, not a prior of images$"):
        load_prior(weights)
    with pytest.raises(ValueError, match="neither 'kernels64' nor an existing file"):
        load_kernel_prior("kernels65")
    with pytest.raises(ValueError, match="is not a blindinv weights file"):
        load_kernel_prior(trained / "checkpoint.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match="is not a blindinv weights file"):
        load_kernel_prior(tmp_path / "broken.safetensors")
    for name, words in (("photos", "latent prior"), ("kernel_denoiser", "kernel denoiser")):
        from blindinv.zoo.shipped import WEIGHTS

        with pytest.raises(ValueError, match=f"is a {words}, not a kernel prior"):
            load_kernel_prior(WEIGHTS / f"{name}.safetensors")


def test_certainty_is_the_share_of_the_noise_that_a_filter_cannot_take_away():
    """Of one Gaussian pixel of variance s^2: sqrt(abar s^2 / (abar s^2 + 1 - abar)), falling with t."""
    model, _ = KernelPriorRecipe(size=12, channels=(16, 16), bank=300, batch=2).setup()
    t = torch.tensor([5, 300, 900])
    _, c, _ = model.gaussian(torch.zeros(3, 1, 12, 12), t)
    a, s = model.abar[t].view(-1, 1, 1, 1), model.std
    g = certainty(a, c)
    torch.testing.assert_close(g, (a * s.square() / (a * s.square() + 1 - a)).sqrt())
    assert (g[0] > g[1]).all()
    assert (g[1] > g[2]).all()
