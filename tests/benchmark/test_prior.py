"""The report on a prior measures what it says it measures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from blindinv.baselines.denoisers import CLASSICAL
from blindinv.benchmark import cli, options, prior
from blindinv.benchmark.rows import Context
from blindinv.metrics import psnr
from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.latent import LatentPrior
from blindinv.priors.pixel import PixelPrior
from blindinv.priors.wiener import WienerDenoiser
from blindinv.schedule import Schedule
from blindinv.zoo.spectra import reference_photos


class Nothing(torch.nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x[:, : x.shape[1] // 2])


def tiny_context(schedule: Schedule) -> Context:
    """A prior that is a Wiener filter on latents of a linear autoencoder."""
    torch.manual_seed(0)
    autoencoder, denoiser = PatchAutoencoder(48, (4, 4), (0, 0)), WienerDenoiser(Nothing(), 48, schedule.abar)
    autoencoder.init_pca(2 * torch.rand(8, 3, 32, 32) - 1)
    context = Context()
    latents = LatentPrior(autoencoder, denoiser, schedule, 48, 4).requires_grad_(False)
    denoiser.gaussian.fit(latents.encode(reference_photos()))
    context.prior = lambda own="photos": latents
    context.weights = lambda needs, own="photos": {"prior": "0"}
    return context


def folder(tmp_path: Path, count: int = 3) -> Path:
    (tmp_path / "in").mkdir()
    for i in range(count):
        Image.fromarray(data.astronaut()[i * 20 : i * 20 + 256, 100:356]).save(tmp_path / "in" / f"{i}.png")
    return tmp_path / "in"


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_denoisers_denoise(name: str):
    if name == "wavelets":
        pytest.importorskip("pywt")
    x = data.astronaut()[:96, 150:246].astype(np.float32) / 255
    for sigma, gain in ((0.02, 1.5), (0.1, 5), (0.4, 9)):
        y = x + sigma * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
        made = CLASSICAL[name](y, sigma)
        before, after = (float(-10 * np.log10(np.square(np.clip(v, 0, 1) - x).mean())) for v in (y, made))
        assert made.shape == x.shape and after > before + gain


def test_noise_of_a_photo_does_not_depend_on_how_many_there_are(tmp_path: Path):
    photos = prior.read_photos(folder(tmp_path), seed=2)
    some = prior.evenly(photos, 2)
    assert [p.name for p in some] == ["0.png", "2.png"] and len(prior.evenly(photos, 9)) == 3
    assert torch.equal(some[1].noise(some[1].x), photos[2].noise(photos[2].x))
    assert not torch.equal(photos[0].noise(photos[0].x), photos[1].noise(photos[1].x))


def test_round_trip_and_latent_denoising(tmp_path: Path, schedule: Schedule):
    context, photos = tiny_context(schedule), prior.read_photos(folder(tmp_path), 0)
    trip = prior.round_trip(context.prior(), photos, lambda line: None)
    x = photos[1].x
    back = context.prior().decode(context.prior().encode(x))
    assert trip.scores["clean"]["psnr"][1] == pytest.approx(float(psnr(back, x)))
    assert all(a > b for a, b in zip(trip.scores["clean"]["psnr"], trip.scores["with noise"]["psnr"], strict=True))
    table = prior.latent_denoising(context.prior(), photos[:1], lambda line: None)
    assert [row[0] for row in table.lines] == ["t", "nothing", "Wiener", "network"]
    for column, values in table.scores["network"].items():  # this network adds nothing
        assert values == pytest.approx(table.scores["Wiener"][column], abs=1e-3)
        assert values[0] > table.scores["nothing"][column][0]


def test_sampler_is_a_denoiser(tmp_path: Path, schedule: Schedule):
    photo = prior.read_photos(folder(tmp_path, 1), 0)[0]
    y = photo.x + 0.1 * photo.noise(photo.x)
    for image in prior.sampler(tiny_context(schedule), y, 0.1):
        assert image.shape == y.shape and psnr(image, photo.x) > psnr(y, photo.x)


def test_command_writes_page_figures_and_samples(tmp_path: Path, schedule: Schedule, monkeypatch: pytest.MonkeyPatch):
    context = tiny_context(schedule)
    monkeypatch.setattr(options, "context", lambda *arguments: context)
    monkeypatch.setattr(prior, "CLASSICAL", {"itself": lambda y, sigma: y})
    for name, value in (("SAMPLE_STEPS", 2), ("SAMPLES", 2), ("LEVELS", (0.1,))):
        monkeypatch.setattr(prior, name, value)
    arguments = ["prior", "--images", str(folder(tmp_path)), "--limit", "1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out" / "prior.json").read_text())
    assert len(facts["psnr"]["round_trip"]["clean"]["psnr"]) == 3
    assert facts["psnr"]["image_denoising"]["itself"] == facts["psnr"]["image_denoising"]["noisy"]
    page = (tmp_path / "out" / "prior.md").read_text()
    assert page.count("\n## ") == 4 and "| sampler |" in page and str(tmp_path) not in page + json.dumps(facts)
    assert Image.open(tmp_path / "out" / "samples.png").size > (256, 2 * 256)


class Half(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.share = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.share * z


def test_a_prior_of_pixels_has_no_round_trip(tmp_path: Path, schedule: Schedule, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prior, "SAMPLES", 2)
    monkeypatch.setattr(prior, "SAMPLE_STEPS", 2)
    context, pixels = Context(prior_name="mine"), PixelPrior(Half(), schedule).requires_grad_(False)
    context.prior, context.weights = lambda own="photos": pixels, lambda needs, own="photos": {}
    photos = prior.read_photos(folder(tmp_path, 1), 0)
    (section,) = prior.report(context, photos, None, lambda line: None)
    assert section.name == "pixel_denoising" and {"noisy", "network"} <= set(section.scores)
    page = prior.write(tmp_path / "out", context, photos, [section], prior.samples_picture(context))
    assert page.name == "pixel-prior.md" and "](pixel-samples.png)" in page.read_text()
    assert sorted(p.name for p in page.parent.iterdir()) == ["pixel-prior.json", "pixel-prior.md", "pixel-samples.png"]
