"""The report on a pixel prior, with the exact prior of a Gaussian field in the network's place."""

import pytest
import torch

from blindinv.benchmark.pixel_prior import denoise_pixels, pixel_denoising, timestep
from blindinv.benchmark.prior import Photo
from blindinv.priors.pixel import PixelPrior
from blindinv.priors.wiener import WienerDenoiser
from blindinv.schedule import Schedule


class Nothing(torch.nn.Module):
    def forward(self, x, t):
        return torch.zeros_like(x[:, :3])


@pytest.fixture(scope="module")
def prior(scenes):
    schedule = Schedule.linear()
    denoiser = WienerDenoiser(Nothing(), 3, schedule.abar, 32)
    denoiser.gaussian.fit(2 * scenes(200, 3, 32) - 1)
    return PixelPrior(denoiser, schedule)


def test_the_timestep_has_the_noise_of_the_photo(prior):
    for sigma in (0.02, 0.1, 0.4):
        abar = prior.schedule.at(timestep(prior, sigma))
        assert ((1 - abar) / abar) ** 0.5 == pytest.approx(2 * sigma, rel=0.15)


def test_the_best_linear_denoiser_gains_and_the_table_has_every_row(prior, scenes):
    photos = [Photo(str(i), x[None], i) for i, x in enumerate(scenes(2, 3, 32))]
    section = pixel_denoising(prior, photos)
    assert [line[0] for line in section.lines[1:5]] == ["noisy", "Wiener", "network", "non-local means"]
    for level in ("0.1", "0.4"):
        assert min(section.scores["network"][level]) > max(section.scores["noisy"][level])
        assert section.scores["network"][level] == pytest.approx(section.scores["Wiener"][level])


def test_without_noise_a_photo_stays_as_it_is(prior, scenes):
    x = scenes(1, 3, 32)
    assert (denoise_pixels(prior, x, 0.001)["network"] - x).abs().mean() < 0.01
