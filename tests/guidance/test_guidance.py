"""Guidance against finite differences and against the closed form of a Gaussian world."""

import pytest
import torch

from blindinv.guidance.losses import Combined, Glue, Measurement, Spectral
from blindinv.guidance.moves import Descend, Proximal, Score
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.fourier import fft, ifft
from blindinv.protocols import Estimate

CIRCULAR, FREE = (CircularConvolution(), (12, 16)), (FreeConvolution(120, tolerance=0.0), (8, 11))


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def estimate(prior, y, k, sigma, t=400, batch=1, seed=5):
    z = 2 * rand(batch, *prior.image, seed=seed) - 1
    z.requires_grad_(True)
    z0 = prior.denoise(z, t)
    level = torch.full((batch, 1, 1, 1), sigma, dtype=torch.float64)
    return Estimate(t, prior.schedule.at(t), z, z0, prior.decode(z0), y, k, level)


def kernel(seed=1, n=3, batch=1):
    k = rand(batch, 1, n, n, seed=seed)
    return k / k.sum((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(("A", "frame"), [CIRCULAR, FREE])
def test_measurement_is_the_norm_of_the_residual(A, frame, squared, gaussian):
    y, k = rand(2, 1, *frame, seed=3), kernel(batch=2)
    e = estimate(gaussian, y, k, 0.1, batch=2)
    loss = Measurement(A, root=not squared, scale=3.0)(e)
    residual = A.frame(A(e.x0, k), frame) - y
    for b in range(2):
        norm = 3 * residual[b].norm().item()
        assert loss[b].item() == pytest.approx(norm**2 if squared else norm)


@pytest.mark.parametrize(("A", "frame"), [CIRCULAR, FREE])
def test_glue_vanishes_on_consistent_images_only(A, frame, gaussian):
    k = kernel()
    e = estimate(gaussian, rand(1, 1, *frame, seed=3), k, 0.1)
    loss = Glue(A, gaussian.encode)
    consistent = Estimate(**{**e.__dict__, "y": A.frame(A(e.x0, k), frame).detach()})
    assert loss(consistent).item() < 1e-5
    expected = gaussian.encode(A.adjoint(e.y - A.frame(A(e.x0, k), frame), k, (12, 16)) + e.x0) - e.z0
    assert loss(e).item() == pytest.approx(expected.norm().item())
    assert Glue(A, gaussian.encode, root=False)(e).item() == pytest.approx(expected.norm().item() ** 2)


def test_a_perfect_fit_has_a_finite_gradient(gaussian):
    y = torch.zeros(1, 1, 12, 16, dtype=torch.float64)
    z = -torch.ones_like(y).requires_grad_(True)
    x0 = gaussian.decode(z)
    e = Estimate(400, 0.5, z, z, x0, y, torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.full((1, 1, 1, 1), 0.1))
    both = Combined(((1.0, Measurement(CircularConvolution())), (0.1, Glue(CircularConvolution(), gaussian.encode))))
    shift = Descend(both)(e).shift
    assert torch.isfinite(shift).all()


def test_combined_is_the_weighted_sum(gaussian):
    A, frame = CIRCULAR
    e = estimate(gaussian, rand(2, 1, *frame, seed=3), kernel(batch=2), 0.1, batch=2)
    fit, glue = Measurement(A), Glue(A, gaussian.encode)
    torch.testing.assert_close(Combined(((2.0, fit), (0.3, glue)))(e), 2 * fit(e) + 0.3 * glue(e))


@pytest.mark.parametrize(("A", "frame"), [CIRCULAR, FREE])
def test_spectral_has_the_gradient_of_the_gaussian_likelihood(A, frame, gaussian, dense):
    """1/2 r^T (A R A^T + sigma^2)^-1 r by finite differences; the residual outside the frame is integrated out."""
    k, sigma, t = kernel(), 0.07, 400
    y = rand(1, 1, *frame, seed=3)
    e = estimate(gaussian, y, k, sigma, t)
    gradient = torch.autograd.grad(Spectral(A, gaussian.spectrum)(e).sum(), e.z)[0]
    R = dense(lambda x: ifft(gaussian.spectrum(t, (12, 16)) * fft(x), (12, 16)), (1, 12, 16))
    M = dense(lambda x: A.frame(A(x, k), frame), (1, 12, 16))
    precision = torch.linalg.inv(M @ R @ M.T + sigma**2 * torch.eye(len(M), dtype=torch.float64))

    def minus_log_likelihood(z):
        r = y.flatten() - M @ gaussian.decode(gaussian.denoise(z, t)).flatten()
        return 0.5 * r @ precision @ r

    z = e.z.detach()
    for seed in range(3):
        d = rand(1, 1, 12, 16, seed=20 + seed) - 0.5
        slope = (minus_log_likelihood(z + 1e-4 * d) - minus_log_likelihood(z - 1e-4 * d)) / 2e-4
        assert (gradient * d).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_inflate_multiplies_sigma(gaussian):
    A, frame = CIRCULAR
    y, k = rand(1, 1, *frame, seed=3), kernel()
    a, b = estimate(gaussian, y, k, 0.2), estimate(gaussian, y, k, 0.1)
    torch.testing.assert_close(Spectral(A, gaussian.spectrum)(a), Spectral(A, gaussian.spectrum, 2.0)(b))
    wide, narrow = (Proximal(A, gaussian.spectrum, gaussian.encode, i) for i in (2.0, 1.0))
    torch.testing.assert_close(narrow(a).z0, wide(b).z0)


@pytest.mark.parametrize("t", [20, 400, 900])
@pytest.mark.parametrize(("A", "frame"), [CIRCULAR, FREE])
def test_score_and_proximal_are_the_exact_posterior_mean(A, frame, t, gaussian, dense):
    """With a Gaussian prior E[z_0 | z_t, y] has a closed form, and both moves reach it."""
    k, sigma, a = kernel(), 0.07, gaussian.schedule.at(t)
    y = rand(1, 1, *frame, seed=3)
    e = estimate(gaussian, y, k, sigma, t)
    S = dense(lambda z: ifft(4 * gaussian.power * fft(z), (12, 16)), (1, 12, 16))
    M = dense(lambda x: A.frame(A(x, k), frame), (1, 12, 16))
    eye = torch.eye(len(S), dtype=torch.float64)
    H = torch.cat([a**0.5 * eye, 0.5 * M])  # z_t = sqrt(a) z + noise, y - 1/2 = M z / 2 + noise (M 1 = 1)
    noise = torch.cat([torch.full((len(S),), 1 - a), torch.full((len(M),), sigma**2)]).double().diag()
    seen = torch.cat([e.z.detach().flatten(), y.flatten() - 0.5])
    exact = S @ H.T @ torch.linalg.solve(H @ S @ H.T + noise, seen)
    proximal = Proximal(A, gaussian.spectrum, gaussian.encode)(e)
    score = Score(Spectral(A, gaussian.spectrum))(e)
    torch.testing.assert_close(proximal.z0.detach().flatten(), exact, atol=1e-7, rtol=0)
    torch.testing.assert_close(score.z0.flatten(), exact, atol=1e-7, rtol=0)
    torch.testing.assert_close(proximal.x.detach(), gaussian.decode(proximal.z0).detach())
    assert proximal.shift is None
    assert score.shift is None


def test_score_reports_the_estimate_it_was_asked_to_finish(gaussian):
    A, frame = CIRCULAR
    e = estimate(gaussian, rand(1, 1, *frame, seed=3), kernel(), 0.1)
    finish = Proximal(A, gaussian.spectrum, gaussian.encode)
    loss = Spectral(A, gaussian.spectrum)
    torch.testing.assert_close(Score(loss)(e).x, e.x0.detach())
    e = estimate(gaussian, e.y, kernel(), 0.1)
    torch.testing.assert_close(Score(loss, finish=finish)(e).x, finish.data_step(e, e.x0.detach()).detach())


def test_descend_moves_down_hill_and_scales(gaussian):
    A, frame = CIRCULAR
    y, k = rand(1, 1, *frame, seed=3), kernel()
    loss = Measurement(A, root=False)
    guided = Descend(loss)(estimate(gaussian, y, k, 0.1))
    e = estimate(gaussian, y, k, 0.1)
    before = loss(e)
    half = Descend(loss, lambda t: t / 800)(e)
    torch.testing.assert_close(half.shift, guided.shift / 2)
    z = e.z.detach() - 1e-4 * guided.shift
    z0 = gaussian.denoise(z, 400)
    after = loss(Estimate(**{**e.__dict__, "z": z, "z0": z0, "x0": gaussian.decode(z0)}))
    assert (before - after).item() == pytest.approx(1e-4 * guided.shift.square().sum().item(), rel=0.01)
    torch.testing.assert_close(guided.z0, e.z0)


def test_descend_goes_no_further_than_the_noise(gaussian):
    """Polyak's step of the linearised loss, scaled; the published step where that is shorter; none for a loss below the noise."""
    A, frame = CIRCULAR
    y, loss = rand(1, 1, *frame, seed=3), Measurement(A)

    def length(noise, rate, scale):
        e = estimate(gaussian, y, kernel(), 0.1)
        plain = Descend(loss)(estimate(gaussian, y, kernel(), 0.1)).shift
        shift = Descend(loss, lambda t: scale, noise=lambda e: torch.full((1,), noise), rate=rate)(e).shift
        ratio = (shift * plain).sum() / plain.square().sum()
        torch.testing.assert_close(shift, ratio * plain)
        return ratio.item(), (loss(e).item() - noise) / plain.square().sum().item()

    found, polyak = length(0.5, 1e9, 0.25)
    assert found == pytest.approx(0.25 * polyak)
    found, _ = length(0.5, polyak / 2, 0.25)
    assert found == pytest.approx(0.25 * polyak / 2)
    assert length(1e6, 1e9, 1.0)[0] == 0


def test_only_gradients_need_gradients(gaussian):
    A, _ = CIRCULAR
    assert Descend(Measurement(A)).needs_grad
    assert Score(Measurement(A)).needs_grad
    assert not Proximal(A, gaussian.spectrum, gaussian.encode).needs_grad
