"""The exact priors are exact, and DDIM converges to the probability flow at first order."""

import itertools
import math

import pytest
import torch

from blindinv.operators.fourier import Spectrum
from blindinv.priors.latent import measure_spectrum
from blindinv.priors.oracle import GaussianPrior, OraclePrior
from blindinv.protocols import generators, randn
from blindinv.step import DDIM


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def few(schedule):
    """Four tiny images, in float64."""
    return OraclePrior(rand(4, 1, 4, 4), schedule, width=0.05)


@pytest.mark.parametrize("t", [0, 100, 400, 999])
def test_oracle_obeys_tweedie(few, t):
    """E[z_0 | z_t] = (z_t + (1 - abar) grad log p(z_t)) / sqrt(abar), with p(z_t) the mixture."""
    a = few.schedule.at(t)
    variance = a * few.variance + 1 - a
    z = (a**0.5 * few.z[1:3] + 0.7 * (1 - a) ** 0.5 * (rand(2, 1, 4, 4, seed=1) - 0.5)).requires_grad_(True)
    distance = (z[:, None] - a**0.5 * few.z).square().sum((2, 3, 4))
    log_p = torch.logsumexp(-distance / (2 * variance), 1)
    score = torch.autograd.grad(log_p.sum(), z)[0]
    torch.testing.assert_close(few.denoise(z, t).detach(), ((z + (1 - a) * score) / a**0.5).detach())


def test_oracle_is_differentiable(few):
    z = (2 * rand(1, 1, 4, 4, seed=3) - 1).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: few.denoise(v, 300), z)


def test_oracle_knows_its_images_at_low_noise_and_only_their_mean_at_high(few):
    z = few.z[2:3]
    assert few.posterior(few.schedule.at(50) ** 0.5 * z, 50)[0, 2] > 0.999
    mean = few.denoise(0 * z, 999)
    torch.testing.assert_close(mean, few.z.mean(0, keepdim=True), atol=0.01, rtol=0)


def test_unguided_sampling_draws_the_images(small_oracle):
    """DDIM from noise ends at an image of the set, with its width."""
    z = randn((16, 3, 16, 16), generators(0, 16))
    ts = small_oracle.schedule.timesteps(100)
    for t, s in zip(ts, [*ts[1:], -1], strict=True):
        z = DDIM()(small_oracle.schedule, z, small_oracle.denoise(z, t), t, s, torch.zeros_like(z))
    distance = (z[:, None] - small_oracle.z).square().mean((2, 3, 4)).sqrt()
    assert distance.amin(1).max() < 0.05
    assert len(distance.argmin(1).unique()) >= 4


@pytest.mark.parametrize("name", ["oracle", "gaussian"])
def test_encode_and_decode(request, name):
    prior = request.getfixturevalue(name)
    x = torch.rand(2, *prior.image)
    torch.testing.assert_close(prior.decode(prior.encode(x)), x)
    assert (prior.encode(x).min() < -0.5, prior.encode(x).max() > 0.5) == (True, True)
    assert prior.shape((5, *prior.image)) == (5, *prior.image)
    with pytest.raises(ValueError, match="knows images of"):
        prior.shape((1, 3, 8, 8))


def test_gaussian_is_the_wiener_filter(gaussian, dense):
    from blindinv.operators.fourier import fft, ifft

    t, size = 500, (12, 16)
    a, z = gaussian.schedule.at(t), rand(1, 1, *size)
    S = dense(lambda v: ifft(4 * gaussian.power * fft(v), size), (1, *size))
    eye = torch.eye(len(S), dtype=torch.float64)
    expected = a**0.5 * S @ torch.linalg.solve(a * S + (1 - a) * eye, z.flatten())
    torch.testing.assert_close(gaussian.denoise(z, t).flatten(), expected)
    covariance = S - a * S @ torch.linalg.solve(a * S + (1 - a) * eye, S)
    R = dense(lambda v: ifft(4 * gaussian.spectrum(t, size) * fft(v), size), (1, *size))
    torch.testing.assert_close(R, covariance)


def test_gaussian_mean_is_kept(schedule):
    prior = GaussianPrior(torch.full((8, 5), 1e-8), 1, 8, schedule, mean=0.8)
    torch.testing.assert_close(
        prior.decode(prior.denoise(torch.randn(1, 1, 8, 8), 600)), torch.full((1, 1, 8, 8), 0.8), atol=1e-3, rtol=0
    )


def test_measured_spectrum_is_the_true_error(schedule):
    """Monte Carlo on draws of a radial Gaussian field against its closed form, in rings."""
    f = torch.fft.fftfreq(32)[:, None].square() + torch.fft.rfftfreq(32).square()
    prior = GaussianPrior(1e-3 / (f + 0.01), 3, 32, schedule)
    x = 0.5 + torch.fft.irfft2(prior.power.sqrt() * torch.fft.rfft2(torch.randn(48, 3, 32, 32), norm="ortho"), norm="ortho")
    levels = (50, 300, 700)
    measured = measure_spectrum(prior, x, levels)
    assert isinstance(measured, Spectrum)
    assert measured.levels == list(levels)
    for row, t in zip(measured.power, levels, strict=True):
        expected = Spectrum.rings(prior.spectrum(t, (32, 32)), (32, 32))
        torch.testing.assert_close(row[4:], expected[4:], rtol=0.25, atol=0)
        torch.testing.assert_close(row.mean(), expected.mean(), rtol=0.1, atol=0)


def test_ddim_converges_to_the_probability_flow_at_first_order(gaussian):
    z, start, errors = randn((1, 1, 12, 16), generators(0, 1)).double(), 999, []
    counts = (60, 120, 240, 480)
    for n in counts:
        ts, v = gaussian.schedule.timesteps(n, start), z
        for t, s in itertools.pairwise(ts):
            v = DDIM()(gaussian.schedule, v, gaussian.denoise(v, t), t, s, torch.zeros_like(v))
        errors.append((v - gaussian.flow(z, start, 0)).square().mean().sqrt().item())
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(0.85 < order < 1.15 for order in orders), (errors, orders)


def test_flow_turns_noise_into_the_field(gaussian):
    """The flow from t to s keeps the law: its marginal variances are those of the diffusion."""
    g, a = gaussian, gaussian.schedule.at(999)
    z = torch.randn(4000, 1, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = a**0.5 * g.mean + g._filter(z, (a * 4 * g.power + 1 - a).sqrt())
    x = g.decode(g.flow(start, 999, -1))
    power = torch.fft.rfft2(x - 0.5, norm="ortho").abs().square().mean((0, 1))
    torch.testing.assert_close(power, g.power, rtol=0.15, atol=0)
    torch.testing.assert_close(g.flow(g.flow(start, 999, 300), 300, 20), g.flow(start, 999, 20))
