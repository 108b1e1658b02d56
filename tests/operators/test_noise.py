"""Noise maps: Poisson statistics, and the exact Gaussian posterior where every pixel has its own noise."""

import pytest
import torch

from blindinv.baselines.sparse import sparse_deconvolution_canvas
from blindinv.guidance.losses import Measurement, Spectral
from blindinv.mstep.hqs import HQS
from blindinv.operators.convolution import CircularConvolution, FreeConvolution, wiener
from blindinv.operators.fourier import fft, ifft
from blindinv.operators.noise import is_map, level, poisson, poisson_sigma, whiten
from blindinv.problem import Deblurring
from blindinv.protocols import Estimate

CANVAS = (8, 10)
BORDERS = [(CircularConvolution(), CANVAS), (FreeConvolution(200, tolerance=1e-9), (5, 6))]


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spectrum(seed=3):
    power = 0.02 + rand(1, 1, 8, 6, seed=seed)
    for edge in (0, 5):  # a real field: S(-f) = S(f)
        power[..., edge] = (power[..., edge] + power[..., edge].flip(-1).roll(1, -1)) / 2
    return power


def world(A, frame, dense):
    """k, y, noise map, prior power S, and the dense matrices of the operator and of S."""
    k, y, power = rand(1, 1, 3, 3, seed=1), rand(1, 1, *frame, seed=4), spectrum()
    k = k / k.sum()
    sigma = 0.03 + 0.3 * rand(1, 1, *frame, seed=5)
    M = dense(lambda x: A.frame(A(x, k), frame), (1, *CANVAS))
    S = dense(lambda x: ifft(power * fft(x), CANVAS), (1, *CANVAS))
    return k, y, sigma, power, M, S


def tight(A, monkeypatch):
    """The circular operator's solver with no tolerance."""
    from blindinv.operators import convolution

    real = convolution.unequal_noise
    monkeypatch.setattr(convolution, "unequal_noise", lambda r, m, c, e, *rest: real(r, m, c, e, 300, 1e-10))


@pytest.mark.parametrize(("A", "frame"), BORDERS)
def test_wiener_is_the_posterior_mean_for_a_noise_map(A, frame, dense, monkeypatch):
    tight(A, monkeypatch)
    k, y, sigma, power, M, S = world(A, frame, dense)
    x0 = rand(1, 1, *CANVAS)
    gain = S @ M.T @ torch.linalg.inv(M @ S @ M.T + sigma.square().flatten().diag())
    expected = x0.flatten() + gain @ (y.flatten() - M @ x0.flatten())
    torch.testing.assert_close(wiener(A, y, k, power, sigma, x0).flatten(), expected, atol=1e-7, rtol=0)
    equal = wiener(A, y, k, power, level(sigma), x0).flatten()
    assert (equal - expected).abs().max() > 0.02  # one number per image would not do


@pytest.mark.parametrize(("A", "frame"), BORDERS)
def test_the_default_tolerance_is_enough(A, frame, dense):
    k, y, sigma, power, M, S = world(A, frame, dense)
    A = type(A)()
    x0 = rand(1, 1, *CANVAS)
    gain = S @ M.T @ torch.linalg.inv(M @ S @ M.T + sigma.square().flatten().diag())
    step = gain @ (y.flatten() - M @ x0.flatten())
    error = wiener(A, y, k, power, sigma, x0).flatten() - x0.flatten() - step
    assert error.norm() < 0.02 * step.norm()


@pytest.mark.parametrize(("A", "frame"), BORDERS)
def test_spectral_guidance_points_along_the_exact_score(A, frame, dense, monkeypatch):
    tight(A, monkeypatch)
    k, y, sigma, power, M, S = world(A, frame, dense)
    x0 = rand(1, 1, *CANVAS).requires_grad_()
    e = Estimate(5, 0.9, x0, x0, x0, y, k, sigma)
    gradient = torch.autograd.grad(Spectral(A, lambda t, size, device: power)(e).sum(), x0)[0]
    precision = torch.linalg.inv(M @ S @ M.T + sigma.square().flatten().diag())
    expected = -M.T @ precision @ (y.flatten() - M @ x0.detach().flatten())
    torch.testing.assert_close(gradient.flatten(), expected, atol=1e-6, rtol=1e-6)


def test_an_equal_map_is_one_number():
    A, y, k, x0 = CircularConvolution(), rand(2, 3, *CANVAS), rand(2, 1, 3, 3, seed=1), rand(2, 3, *CANVAS, seed=2)
    one = torch.full((2, 1, 1, 1), 0.1, dtype=torch.float64)
    flat = one.expand(2, 3, *CANVAS)
    assert is_map(flat) and not is_map(one)
    torch.testing.assert_close(level(flat), one)
    torch.testing.assert_close(wiener(A, y, k, spectrum(), flat, x0), wiener(A, y, k, spectrum(), one, x0))
    step = HQS(A, lambda k, s: k, iterations=3)
    torch.testing.assert_close(step(y, x0, k, 0, flat), step(y, x0, k, 0, one))


def test_whitened_noise_is_equal_everywhere_and_no_larger_on_the_whole():
    sigma = 0.01 + rand(1, 3, 200, 200)
    noise = sigma * torch.randn(1, 3, 200, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    white = whiten(noise, sigma)
    assert (white / level(sigma)).std().item() == pytest.approx(1, abs=0.01)
    assert white.norm().item() == pytest.approx(noise.norm().item(), rel=0.02)
    assert whiten(noise, level(sigma)) is noise


def test_measurement_is_the_weighted_norm():
    A, y, k, sigma = CircularConvolution(), rand(1, 3, *CANVAS), rand(1, 1, 3, 3, seed=1), 0.1 + rand(1, 3, *CANVAS, seed=2)
    x0 = rand(1, 3, *CANVAS, seed=3)
    got = Measurement(A, root=False, scale=1.0)(Estimate(5, 0.9, x0, x0, x0, y, k, sigma))
    expected = sigma.square().mean() * ((y - A(x0, k)) / sigma).square().sum()
    assert got.item() == pytest.approx(expected.item())


def test_the_kernel_comes_from_the_pixels_that_are_quiet():
    """Half of the picture is nearly noise: told so, the M-step finds the kernel better."""
    g = torch.Generator().manual_seed(0)
    x, k = torch.rand(1, 3, 48, 48, generator=g), torch.rand(1, 1, 7, 7, generator=g)
    k = k / k.sum()
    sigma = torch.full_like(x, 0.005)
    sigma[..., 24:] = 0.3
    A = CircularConvolution()
    y = A(x, k) + sigma * torch.randn(x.shape, generator=g)
    flat = torch.full_like(k, 1 / 49)

    def error(sigma):
        estimate = flat
        for _ in range(20):
            estimate = HQS(A, lambda k, s: k, delta=1e3, iterations=5)(y, x, estimate, 0, sigma)
        return (estimate - k).norm() / k.norm()

    assert error(sigma) < 0.5 * error(level(sigma))


def test_sparse_deconvolution_trusts_quiet_pixels():
    g = torch.Generator().manual_seed(0)
    x = torch.zeros(1, 3, 48, 48)
    x[..., 12:36, 12:36] = 0.8
    k = torch.ones(1, 1, 9, 9) / 81
    sigma = torch.full_like(x, 0.01)
    sigma[..., 24:, :] = 0.2
    y = CircularConvolution()(x, k) + sigma * torch.randn(x.shape, generator=g)
    errors = []
    for noise in (sigma, level(sigma)):
        problem = Deblurring.of(y, noise, circular=True, kernel=k)
        errors.append((sparse_deconvolution_canvas(problem) - x).square().mean())
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("photons", [10.0, 100.0, 1000.0])
def test_poisson_noise_has_the_variance_of_the_map(photons):
    x = torch.linspace(0.2, 0.9, 64).expand(1, 3, 400, 64).contiguous()
    y = poisson(x, photons, torch.Generator().manual_seed(0)) + 0.02 * torch.randn(x.shape)
    seen = (y - x).square().mean((1, 2))  # of each column
    torch.testing.assert_close(seen, x.mean((1, 2)) / photons + 0.02**2, rtol=0.2, atol=0)
    assert y.mean().item() == pytest.approx(x.mean().item(), rel=0.01)
    counts = poisson(x, photons, torch.Generator().manual_seed(0))
    estimated = poisson_sigma(counts, photons, 0.02).square().mean((1, 2))
    torch.testing.assert_close(estimated, x.mean((1, 2)) / photons + 0.02**2, rtol=0.15, atol=0)


def test_the_map_is_never_below_one_photon():
    dark = torch.zeros(1, 3, 16, 16)
    torch.testing.assert_close(poisson_sigma(dark, 50.0), torch.full_like(dark, 1 / 50))


def test_a_map_does_not_depend_on_the_rest_of_the_batch():
    y = poisson(rand(3, 3, 16, 16), 30.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(poisson_sigma(y, 30.0)[:1], poisson_sigma(y[:1], 30.0))


@pytest.mark.parametrize(
    ("photons", "lowest", "message"),
    [(0.0, 0.1, "positive number, got 0"), (float("nan"), 0.1, "positive number"), (20.0, -0.2, "goes down to -0.2")],
)
def test_what_cannot_be_counts_is_refused(photons, lowest, message):
    y = torch.full((1, 3, 32, 32), 0.5)
    y[0, 0, 3, 3] = lowest
    with pytest.raises(ValueError, match=message):
        Deblurring.of(y, 0.0, 9, True, photons=photons)


def test_a_problem_with_photons_has_a_map_for_every_sample():
    y = poisson(torch.rand(2, 3, 32, 32), 40.0, torch.Generator().manual_seed(0))
    problem = Deblurring.of(y, 0.01, 9, True, samples=2, photons=40.0)
    assert problem.sigma.shape == problem.y.shape == (4, 3, 32, 32)
    torch.testing.assert_close(problem.sigma[2:3], poisson_sigma(y[1:], 40.0, 0.01))
    again = Deblurring.of(problem.y, problem.sigma, 9, True)
    torch.testing.assert_close(again.sigma, problem.sigma)
