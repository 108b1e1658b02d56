"""Restoring through turbulence: both methods and the one-call API."""

import pytest
import torch
from torch import Tensor

import blindinv.turbulence as module
from blindinv import tiled
from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import mnc
from blindinv.kernels.mixture import gaussian_kernels
from blindinv.kernels.tilt import end_point_error, tilt_maps
from blindinv.methods.method import Models
from blindinv.methods.turbulence import ByEvidence, Settings, ThreeChains, turbulence
from blindinv.metrics import psnr
from blindinv.mstep.gaussian import best_width, parabola
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.fourier import Spectrum
from blindinv.operators.turbulence import Turbulence
from blindinv.priors.gaussian_tilt import GaussianTilt
from blindinv.priors.oracle import OraclePrior
from blindinv.priors.uniform import UniformPrior
from blindinv.problem import Deblurring
from blindinv.zoo import load_prior
from blindinv.zoo.models import load_models
from blindinv.zoo.spectra import image_spectrum

SIGMA = 0.01
QUICK = ByEvidence(Settings(widths=(1.2, 1.8, 2.7), steps=4))
SMALL = ByEvidence(Settings(widths=(1.0, 1.5), steps=4))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observe(x: Tensor, std: float, size: int, strength: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An observation through circular turbulence, and its tilt."""
    g = rng(seed)
    tilt = tilt_maps(len(x), (x.shape[-2], x.shape[-1]), g, strength)
    y = Turbulence(CircularConvolution())(x, {"kernel": gaussian_kernel(size, std), "tilt": tilt})
    return y + SIGMA * torch.randn(y.shape, generator=g), tilt


@pytest.fixture(scope="module")
def prior():
    return load_prior("photos")


@pytest.fixture(scope="module")
def known_scenes(oracle: OraclePrior, scenes) -> OraclePrior:
    oracle.image_spectrum = Spectrum([0], image_spectrum(scenes(24, 3, 48))[None])
    return oracle


def test_a_prior_that_knows_the_scene_gives_width_image_and_tilt(known_scenes, scenes):
    x = scenes(24, 3, 48)[5:6]
    y, tilt = observe(x, 1.0, 15)
    problem = Deblurring.of(y, SIGMA, 15, True)
    assert float(best_width(problem, known_scenes, 200, (0.5, 0.7, 1.0, 1.4, 2.0))) == pytest.approx(1.0, rel=0.2)
    settings = Settings(widths=(0.5, 0.7, 1.0, 1.4, 2.0), judge_t=200, temper=1.0, tilt_above=0)
    *_, last = turbulence(problem, known_scenes, 1.0, settings)
    found, zero = end_point_error(last.phi["tilt"], tilt), end_point_error(torch.zeros_like(tilt), tilt)
    assert float(found) < 0.75 * float(zero)
    assert float(psnr(last.x, x)) > float(psnr(y, x)) + 6


def test_a_photo_gets_better_and_its_blur_is_found(prior, astronaut):
    x = astronaut[..., :112, 72:184]
    y, tilt = observe(x, 1.8, 33)
    result = module.restore(y, prior=prior, kernel_size=33, sigma=SIGMA, circular=True, steps=8)
    assert result.image.shape == x.shape and result.tilt.shape == tilt.shape and result.kernel.shape == (1, 1, 33, 33)
    assert float(mnc(result.kernel, gaussian_kernel(33, 1.8))) > 0.98
    assert float(psnr(result.image, x)) > float(psnr(y, x)) + 2
    assert 0 < float(result.tilt.std()) < 0.41


def test_without_turbulence_there_is_no_tilt_and_with_a_known_kernel_it_is_kept(prior, astronaut):
    y, _ = observe(astronaut[..., :64, 64:144], 1.5, 17, strength=0.0)
    k = gaussian_kernel(17, 1.5)
    result = module.restore(y, method=QUICK, prior=prior, kernel=k, sigma=SIGMA, strength=0.0)
    assert not result.tilt.any() and torch.equal(result.kernel, k)


def test_samples_of_a_batch_do_not_touch_each_other(astronaut):
    prior = load_prior("photos", dtype=torch.float32)
    x = torch.cat([astronaut[..., :64, :80], astronaut[..., 90:154, 100:180]])
    y, _ = observe(x, 1.5, 17)
    settings = dict(method=QUICK, prior=prior, kernel_size=17, sigma=SIGMA, circular=True)
    one, two = module.restore(y[:1], **settings), module.restore(y, **settings)
    torch.testing.assert_close(one.image, two.image[:1], atol=1e-4, rtol=0)
    torch.testing.assert_close(one.tilt, two.tilt[:1], atol=1e-3, rtol=0)
    torch.testing.assert_close(one.kernel, two.kernel[:1], atol=1e-5, rtol=0)


def test_large_photos_go_through_in_tiles_that_share_a_kernel(prior, astronaut, monkeypatch):
    x = astronaut[..., 20:84, 60:188]
    y, _ = observe(x, 1.5, 9)
    monkeypatch.setattr(tiled, "LARGEST", 64 * 64)
    monkeypatch.setattr(tiled, "TILE", 64)
    seen = []
    result = module.restore(y, method=SMALL, prior=prior, kernel_size=9, sigma=SIGMA, record=lambda p: seen.append(p.step))
    assert result.image.shape == y.shape and result.tilt.shape == (1, 2, 64, 128)
    assert result.kernel.shape == (1, 1, 9, 9) and seen == [1, 2, 3, 4] * 4  # once for the kernel, then three tiles
    assert float(psnr(result.image, x)) > float(psnr(y, x))


def test_three_chains_fit_the_observation(known_scenes, scenes):
    x = scenes(24, 3, 48)[3:4]
    y, _ = observe(x, 1.0, 16)
    problem, A = Deblurring.of(y, SIGMA, 16, True), Turbulence(CircularConvolution())
    models = Models(known_scenes, kernel_prior=UniformPrior(16), tilt_prior=GaussianTilt())
    steps = list(ThreeChains(rate=0.2, kernel_rate=0.5, tilt_rate=0.5)(problem, models, 1.0, 60))
    misfits = [float((A(p.x, p.phi) - y).square().mean().sqrt()) for p in steps]
    assert len(steps) == 60 and misfits[-1] < 0.6 * misfits[0]
    assert float(psnr(steps[-1].x, x)) > float(psnr(y, x)) + 6
    k = steps[-1].phi["kernel"]
    assert float(k.min()) >= 0 and float(k.sum()) == pytest.approx(1, abs=1e-4)
    assert steps[-1].phi["tilt"].shape == (1, 2, 48, 48)


def test_three_chains_refuse_what_their_priors_do_not_know(known_scenes):
    y = torch.rand(1, 3, 48, 48, generator=rng())
    models = Models(known_scenes, kernel_prior=UniformPrior(16), tilt_prior=GaussianTilt(2.0))
    with pytest.raises(ValueError, match="kernels up to 16 pixels, not 20"):
        ThreeChains(steps=4)(Deblurring.of(y, SIGMA, 20, True), models, 2.0, None)
    with pytest.raises(ValueError, match="strength 2, not 1"):
        ThreeChains(steps=4)(Deblurring.of(y, SIGMA, 16, True), models, 1.0, None)


def test_bad_requests_say_what_is_wrong(prior):
    y = torch.rand(1, 3, 32, 32, generator=rng())
    with pytest.raises(ValueError, match="give one of default, blinddps"):
        module.restore(y, method="magic", prior=prior, kernel_size=9)
    with pytest.raises(ValueError, match="strength of turbulence"):
        module.restore(y, prior=prior, kernel_size=9, strength=-1.0)
    with pytest.raises(ValueError, match="takes no tilt prior"):
        load_models(ByEvidence(), tilt_prior="gaussian")


def test_gaussian_tilts_are_denoised_by_their_posterior_mean():
    prior, size = GaussianTilt(2.0), (64, 48)
    tilt = tilt_maps(60, size, rng(1), strength=2.0)
    z = prior.encode(tilt)
    torch.testing.assert_close(prior.decode(z), tilt)
    assert float(z.std()) == pytest.approx(1, abs=0.1)
    for t in (100, 500):
        a = prior.schedule.at(t)
        z_t = a**0.5 * z + (1 - a) ** 0.5 * torch.randn(z.shape, generator=rng(2))
        error = prior.denoise(z_t, t) - z
        assert abs(float((error * z_t).mean())) < 0.02  # the error of a posterior mean has nothing to do with what was seen
        assert float(error.square().mean()) < 0.9 * min(1 - a, 1.0) / a
    with pytest.raises(ValueError, match="strength"):
        GaussianTilt(0.0)


def test_parabola():
    top = lambda f: float(parabola(*(torch.tensor(f(x)) for x in (-1.0, 0.0, 1.0))))  # noqa: E731
    assert top(lambda x: -((x - 0.3) ** 2)) == pytest.approx(0.3)
    assert top(lambda x: -((x + 4) ** 2)) == -1 and top(lambda x: (x + 0.1) ** 2) == 1


def test_end_point_error_forgives_a_shift():
    tilt = tilt_maps(2, (20, 30), rng(3))
    shift = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    assert end_point_error(tilt + shift, tilt).max() < 1e-5
    one = torch.zeros(1, 2, 4, 4)
    one[0, 0, :, :2], one[0, 1, :, :2] = 3, 4
    assert float(end_point_error(one, torch.zeros_like(one))) == pytest.approx(2.5)


def test_gaussian_kernels_of_widths_match_gaussian_kernel():
    torch.testing.assert_close(gaussian_kernels(17, torch.tensor([1.3]))[0], gaussian_kernel(17, 1.3)[0])
