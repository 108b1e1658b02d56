"""The recipe of the restorer: its pairs are what they claim, it learns, and the command writes what it should."""

import pytest
import torch
import typer
from commands import check_outputs, state_of
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from blindinv.baselines.restorer import Restorer, load_restorer
from blindinv.kernels.motion import motion_kernels
from blindinv.training.restorer import RestorerLoss, RestorerRecipe, RestorerScores, blur
from blindinv.training.restorer_cli import restorer

TINY = ["--channels", "8,12", "--blocks", "1", "--crop", "64", "--batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "two-photos"
    folder.mkdir()
    for name in ("astronaut", "coffee"):
        Image.fromarray(getattr(data, name)()).resize((200, 180)).save(folder / f"{name}.png")
    return folder


def call(*arguments):
    app = typer.Typer()
    app.command()(restorer)
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("circular", [True, False])
def test_pairs_show_the_same_scene(astronaut, circular):
    k = motion_kernels(1, 64, 0.5, torch.Generator().manual_seed(0))
    point = torch.zeros_like(k)
    point[..., 32, 32] = 1
    sigma = torch.zeros(1, 1, 1, 1)
    y, x = blur(astronaut, point, circular, sigma, torch.Generator().manual_seed(0))
    assert y.shape == x.shape
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)
    y, _ = blur(astronaut, k, circular, sigma + 0.03, torch.Generator().manual_seed(0))
    clean, _ = blur(astronaut, k, circular, sigma, torch.Generator().manual_seed(0))
    assert (y - clean).std().item() == pytest.approx(0.03, rel=0.02)


def test_both_borders_are_drawn():
    photos = [torch.full((3, 160, 160), 128, dtype=torch.uint8)]
    loss, seams = RestorerLoss(photos, 2, 64), set()
    for seed in range(8):
        y, x, sigma = loss.draw(torch.Generator().manual_seed(seed))
        assert y.shape == x.shape == (2, 3, 64, 64) and sigma.shape == (2, 1, 1, 1)
        assert ((sigma >= 0) & (sigma <= 0.04)).all()
        seams.add(bool(torch.rand((), generator=torch.Generator().manual_seed(seed)) < 0.5))
    assert seams == {True, False}


def test_it_learns(photos):
    recipe = RestorerRecipe(photos, photos, 4, 64, (16, 24), 1)
    model, loss = recipe.setup()
    fixed = torch.Generator().manual_seed
    before = loss(model, fixed(1)).item()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(25):
        optimizer.zero_grad()
        loss(model, fixed(1)).backward()
        optimizer.step()
    assert loss(model, fixed(1)).item() < 0.97 * before


def test_scores_of_doing_nothing_are_those_of_the_blurred(astronaut):
    scores = RestorerScores(astronaut[..., :128, :128])(Restorer((8, 12), 1))
    assert scores["psnr"] == scores["psnr_blurred"]
    assert 10 < scores["psnr"] < 35


def test_command(photos, tmp_path):
    result = call(photos, "--validation", photos, "--out", tmp_path / "r", "--steps", 2, *TINY)
    assert result.exit_code == 0, result.output + repr(result.exception)
    weights = tmp_path / "r" / "restorer.safetensors"
    check_outputs(weights, "2 photos of the folder `two-photos`", "psnr_blurred", "8, 12", "2 steps")
    y = torch.rand(1, 3, 40, 40)
    assert load_restorer(weights)(y, 0.02).shape == y.shape
    assert call(photos, "--validation", photos, "--out", tmp_path / "r", "--steps", 3, *TINY).exit_code == 0
    assert state_of(tmp_path / "r").step == 3


def test_bad_input_is_one_line(photos, tmp_path):
    for arguments, word in ((["--crop", "60"], "--crop 60"), (["--channels", "8;9"], "--channels 8;9")):
        result = call(photos, "--out", tmp_path / "r", "--steps", 1, *TINY, *arguments)
        assert result.exit_code == 2 and word in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
