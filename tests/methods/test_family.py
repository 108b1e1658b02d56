"""DPS, PiGDM, DDNM, FastEM and ReSample under exact priors, with Gaussian and Poisson noise."""

import pytest
import torch

from blindinv.guidance.hard import HardConsistency
from blindinv.guidance.pseudo_inverse import Isotropic, PseudoInverse, error_spectrum
from blindinv.kernels.measure import delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.methods import methods
from blindinv.methods.fastem import FastEM
from blindinv.methods.method import Models, Options
from blindinv.methods.resample import ReSample, Resample, kept, variance
from blindinv.methods.starts import Coarse, dirac
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.fourier import fft, ifft
from blindinv.operators.noise import is_map, poisson
from blindinv.problem import Deblurring, run
from blindinv.protocols import Estimate
from blindinv.step import DDIM

KNOWN = {"dps": 80, "pigdm": 25, "ddnm": 25, "resample": 40}
BLIND = ("fastem", "fastem-pigdm", "resample")


def identity(k, sigma):
    return k


def blurred(scenes, count=4, photons=None):
    x, k = scenes(24, 3, 48)[:count], motion_kernels(count, 11, 1.0, torch.Generator().manual_seed(4))
    y, g = CircularConvolution()(x, k), torch.Generator().manual_seed(1)
    y = y + 0.01 * torch.randn(x.shape, generator=g) if photons is None else poisson(y, photons, g)
    return x, k, y


@pytest.mark.parametrize("photons", [None, 1000.0])
@pytest.mark.parametrize("name", KNOWN)
def test_with_the_true_kernel_it_finds_the_scene(name, photons, scenes, oracle):
    """One of 24 scenes; a wrong one is at least 0.15 away."""
    x, k, y = blurred(scenes, photons=photons)
    problem = Deblurring.of(y, 0.01 if photons is None else 0.0, 11, True, k, photons=photons)
    assert is_map(problem.sigma) == (photons is not None)
    result = run(problem, methods()[name](problem, Models(oracle, identity), Options(KNOWN[name])))
    error = (result.image - x).square().mean((1, 2, 3)).sqrt()
    assert (error < 0.03).sum() >= 2, error
    assert torch.equal(result.kernel, k)


@pytest.mark.parametrize("name", BLIND)
def test_blind_it_finds_kernels_where_it_finds_scenes(name, scenes, schedule):
    from blindinv.priors.oracle import OraclePrior

    x, k, y = blurred(scenes, 6)
    problem = Deblurring.of(y, 0.01, 11, True, seed=1)
    result = run(problem, methods()[name](problem, Models(OraclePrior(x, schedule), identity), Options(60)))
    right = (result.image - x).square().mean((1, 2, 3)).sqrt() < 0.05
    figures = mnc(result.kernel, k)
    assert right.sum() >= 2 and (figures[right] > 0.9).all(), figures


@pytest.mark.parametrize(("blind", "known"), [("fastem", "dps"), ("fastem-pigdm", "pigdm")])
def test_with_a_known_kernel_em_is_the_sampler_alone(blind, known, scenes, latent_prior):
    _, k, y = blurred(scenes, 2)
    images = []
    for name in (blind, known):
        problem = Deblurring.of(y, 0.01, 11, True, k, seed=3)
        images.append(run(problem, methods()[name](problem, Models(latent_prior, identity), Options(6))).image)
    assert torch.equal(*images)


@pytest.mark.parametrize("name", [*KNOWN, "fastem", "fastem-pigdm"])
def test_samples_do_not_touch_each_other(name, scenes, latent_prior):
    _, k, y = blurred(scenes, 3)

    def last(batch):
        kernel = k[:batch] if name in ("dps", "pigdm", "ddnm") else None
        problem = Deblurring.of(y[:batch], 0.02, 11, True, kernel)
        return run(problem, methods()[name](problem, Models(latent_prior, identity), Options(8)))

    alone, together = last(1), last(3)
    torch.testing.assert_close(together.image[:1], alone.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.kernel[:1], alone.kernel, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["dps", "pigdm", "ddnm"])
def test_methods_for_known_kernels_ask_for_one(name, scenes, latent_prior):
    problem = Deblurring.of(blurred(scenes, 1)[2], 0.02, 11, True)
    with pytest.raises(ValueError, match=f"{name} is not blind: give it the kernel"):
        methods()[name](problem, Models(latent_prior, identity), Options(5))
    with pytest.raises(ValueError, match="no steps to skip"):
        methods()[name](problem, Models(latent_prior, identity), Options(5, (8, 500)))


def test_isotropic_on_pixels_is_the_published_variance(gaussian, latent_prior):
    """r_t^2 = 1 - abar_t on [-1, 1]; a prior that was measured keeps its own spectrum."""
    power = Isotropic(gaussian_of(gaussian, 32), (1, 32, 32))(300, (32, 32))
    expected = (1 - gaussian.schedule.at(300)) / 4
    assert power.mean().item() == pytest.approx(expected, rel=0.1)
    assert power.std() < 0.5 * expected
    problem = Deblurring.of(torch.zeros(1, 3, 32, 32), 0.1, 9, True)
    assert error_spectrum(gaussian, problem) is gaussian.spectrum
    assert isinstance(error_spectrum(latent_prior, problem), Isotropic)


def gaussian_of(gaussian, size):
    from blindinv.priors.oracle import GaussianPrior

    return GaussianPrior(torch.ones(size, size // 2 + 1), 1, size, gaussian.schedule)


@pytest.mark.parametrize(("A", "frame"), [(CircularConvolution(), (12, 16)), (FreeConvolution(120, tolerance=0.0), (8, 11))])
def test_pseudo_inverse_is_the_published_formula(A, frame, gaussian, dense):
    """sqrt(abar) r^2 J^T A^T (A R A^T + sigma^2)^-1 (y - A x0) by dense algebra, and no longer than Polyak's step."""
    t, sigma, a = 400, 0.07, gaussian.schedule.at(400)
    g = torch.Generator().manual_seed(5)
    y, k = torch.rand(1, 1, *frame, dtype=torch.float64, generator=g), torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    z = (2 * torch.rand(1, 1, 12, 16, dtype=torch.float64, generator=g) - 1).requires_grad_()
    z0 = gaussian.denoise(z, t)
    level = torch.full((1, 1, 1, 1), sigma, dtype=torch.float64)
    e = Estimate(t, a, z, z0, gaussian.decode(z0), y, k, level)
    R = dense(lambda x: ifft(gaussian.spectrum(t, (12, 16)) * fft(x), (12, 16)), (1, 12, 16))
    M = dense(lambda x: A.frame(A(x, k), frame), (1, 12, 16))
    J = dense(lambda z: (gaussian.denoise(z, t) - gaussian.denoise(torch.zeros_like(z), t)) / 2, (1, 12, 16))
    precision = torch.linalg.inv(M @ R @ M.T + sigma**2 * torch.eye(len(M), dtype=torch.float64))
    r = y.flatten() - M @ e.x0.detach().flatten()
    gradient = J.T @ M.T @ precision @ r
    free = PseudoInverse(A, gaussian.spectrum, safe=False)(e).shift
    torch.testing.assert_close(-free.flatten(), a**0.5 * (1 - a) * gradient, atol=1e-8, rtol=1e-5)
    z0 = gaussian.denoise(z, t)
    e = Estimate(t, a, z, z0, gaussian.decode(z0), y, k, level)
    safe = PseudoInverse(A, gaussian.spectrum)(e).shift
    over = 0.5 * (r @ precision @ r - sigma**2 * precision.trace())
    longest = over.clamp(min=0) / gradient.square().sum()
    if A.frame(e.x0, frame).shape == e.x0.shape:  # on free borders the trace is that of the torus, scaled
        torch.testing.assert_close(-safe.flatten(), min(longest, torch.tensor(a**0.5 * (1 - a))) * gradient, rtol=1e-5, atol=1e-9)
    assert safe.norm() <= free.norm() * (1 + 1e-9)


def test_hard_consistency_stops_at_the_noise(gaussian, dense):
    """The residual has the power of the noise, and no other image with so small a residual is nearer to x0."""
    A, sigma, g = CircularConvolution(), 0.05, torch.Generator().manual_seed(0)
    k = torch.rand(2, 1, 3, 3, dtype=torch.float64, generator=g)
    k = k / k.sum((1, 2, 3), keepdim=True)
    y, x0 = (torch.rand(2, 1, 12, 16, dtype=torch.float64, generator=g) for _ in range(2))
    e = Estimate(400, 0.5, x0, x0, x0, y, k, torch.full((2, 1, 1, 1), sigma, dtype=torch.float64))
    x1 = HardConsistency(A, Isotropic(gaussian, (1, 12, 16)).clean, 60)(e)
    flat = HardConsistency(A, lambda t, size, device: torch.ones(12, 9), 60)(e)
    for x in (x1, flat):
        torch.testing.assert_close((y - A(x, k)).square().mean((1, 2, 3)), torch.full((2,), sigma**2).double(), rtol=1e-4, atol=0)
    for b in range(2):
        M = dense(lambda x, b=b: A(x, k[b : b + 1]), (1, 12, 16))
        moved = (flat[b] - x0[b]).flatten()
        gap = (y[b] - A(flat, k)[b]).flatten()
        along = M.T @ gap  # Lagrange: x1 - x0 is a multiple of A^T (y - A x1)
        cosine = (moved @ along) / moved.norm() / along.norm()
        assert cosine.item() == pytest.approx(1, abs=1e-6)


def test_what_already_explains_y_stays(gaussian):
    A, k, x0 = CircularConvolution(), delta(3).double(), torch.rand(1, 1, 12, 16, dtype=torch.float64)
    e = Estimate(400, 0.5, x0, x0, x0, x0 + 0.01, k, torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64))
    torch.testing.assert_close(HardConsistency(A, Isotropic(gaussian, (1, 12, 16)).clean)(e), x0, atol=1e-4, rtol=0)


def test_resampling_has_the_published_mean_and_variance(schedule):
    """Half of the mean comes from the step, half from the guidance's shift; both have the weights of eq. 11."""
    t, s, g = 500, 480, torch.Generator().manual_seed(0)
    b, v = schedule.at(s), variance(schedule, 500, 480)
    assert v == pytest.approx(40 * (1 - b) / schedule.at(t) * (1 - schedule.at(t) / b))
    z, z0, noise = (torch.randn(1, 2, 100, 100, generator=g) for _ in range(3))
    plain = DDIM()(schedule, z, z0, t, s, noise)
    step = Resample(frozenset({t}))
    mean = step(schedule, z, z0, t, s, torch.zeros_like(noise))
    torch.testing.assert_close(mean, (1 - b) / (v + 1 - b) * plain)
    spread = step(schedule, z, z0, t, s, noise) - mean
    assert spread.var().item() == pytest.approx(v * (1 - b) / (v + 1 - b), rel=0.05)
    assert 1 - kept(schedule, t, s) == pytest.approx(v / (v + 1 - b))
    torch.testing.assert_close(Resample(frozenset())(schedule, z, z0, t, s, noise), plain)


@pytest.mark.parametrize("steps", [500, 100, 30, 6])
def test_resample_is_consistent_as_often_as_published(steps, schedule):
    at = ReSample().consistent(schedule.timesteps(steps))
    assert 0 in at and max(at) <= 999 * 2 / 3 + 2
    assert len(at) == pytest.approx(min(34, steps * 2 / 3), rel=0.35)


def test_starts(scenes, latent_prior):
    _, _, y = blurred(scenes, 2)
    problem = Deblurring.of(y, 0.01, 11, True)
    models = Models(latent_prior, identity)
    assert torch.equal(dirac(problem, models), delta(11, 2))
    start = Coarse()(problem, models)
    torch.testing.assert_close(start.sum((1, 2, 3)), torch.ones(2))
    assert (start >= 0).all() and start.amax() < 0.9
    frozen = FastEM(5, True, start=Coarse(), below=0)
    torch.testing.assert_close(run(problem, frozen(problem, models, Options())).kernel, start)
