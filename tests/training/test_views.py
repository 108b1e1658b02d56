"""`blindinv train views` on a few objects and a tiny network, and its weights."""

import pytest
import torch
from commands import call, check_outputs, good, refused, same, state_of

from blindinv.methods.posefree import posefree
from blindinv.training.loop import Plan, train
from blindinv.training.view_data import Shards
from blindinv.training.views import ViewLoss, ViewPriorRecipe, Views, ViewScores
from blindinv.zoo.views import load_view_prior

pytest.importorskip("embreex")

OBJECTS = ["--objects", "4", "--pictures", "5", "--size", "32", "--autoencoder-steps", "2"]
TINY = [*OBJECTS, "--encoder", "16,16", "--channels", "16,16", "--batch", "2", "--targets", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    good("views", "--out", folder, "--steps", 3, *TINY)
    return folder


def test_weights_card_and_pictures(trained):
    weights = trained / "objects.safetensors"
    check_outputs(weights, "5 pictures of 32x32 pixels of each of 4", "error_500_wrong", "3 steps", "| targets | 2 |")
    prior = load_view_prior(weights)
    assert prior.size == 32 and not any(p.requires_grad for p in prior.parameters())
    y = torch.rand(1, 2, 3, 32, 32)
    *_, last = posefree(y, prior, torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 1, 3), guidance=prior.guidance, steps=3)
    assert last.x.shape == (1, 1, 3, 32, 32) and last.x.isfinite().all()


def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(trained, tmp_path, monkeypatch):
    pictures = ("--data", trained / "pictures", "--steps", 4, "--checkpoint-every", 0, *TINY)
    good("views", "--out", tmp_path / "whole", *pictures)
    compute, calls = ViewLoss.__call__, []

    def interrupted(self, model, generator):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(self, model, generator)

    with monkeypatch.context() as patch:
        patch.setattr(ViewLoss, "__call__", interrupted)
        assert call("views", "--out", tmp_path / "parts", *pictures).exit_code == 130
    assert state_of(tmp_path / "parts").step == 2
    good("views", "--out", tmp_path / "parts", *pictures)
    for name in ("checkpoint", "objects"):
        assert same(*(tmp_path / run / f"{name}.safetensors" for run in ("whole", "parts")))


def test_the_first_picture_is_the_one_to_start_from_and_poses_are_relative_to_it(trained):
    shards = Shards.open(trained / "pictures" / "val")
    v = Views.of(shards, torch.tensor([3]), torch.tensor([[2, 0, 4]]))
    assert torch.equal(v.image[0], shards.pictures[0][3, 2, :3].float() / 255)
    assert torch.equal(v.wanted[0, 1], shards.pictures[0][3, 4, :3].float() / 255)
    torch.testing.assert_close(v.pose[0], shards.pose[0][3, [0, 4]] - shards.pose[0][3, 2])
    assert v.polar[0] == shards.pose[0][3, 2, 0]


def test_it_learns(trained, tmp_path):
    """A few dozen steps tell pictures better than nothing does, and denoising knows more than the first guess."""
    recipe = ViewPriorRecipe(
        trained / "pictures" / "train", trained / "autoencoder" / "checkpoint.safetensors", (16, 16), (16, 16), 4, 2
    )
    model, loss = recipe.setup()
    scores = ViewScores(Shards.open(trained / "pictures" / "train"))
    before = scores(model)
    train(model, loss, tmp_path, Plan(steps=30, lr=5e-3, ema=0.8, warmup=3))
    after = scores(model)
    assert after["guess"] < 0.8 * before["guess"] and after["error_500"] < 0.9 * before["error_500"]
    assert after["error_100"] < after["error_500"] < after["guess"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "40"], "multiple of 16"),
        (["--targets", "5"], "5 pictures of an object"),
        (["--channels", "20"], "multiples of 16"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, words):
    assert words in refused("views", "--out", tmp_path / "out", "--steps", 1, *OBJECTS, *options)
    assert not (tmp_path / "out").exists()
