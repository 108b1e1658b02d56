"""The kernel M-step against dense algebra, and against the truth."""

import pytest
import torch

from blindinv.kernels.measure import centre_of_mass, delta, mnc, resize_support
from blindinv.kernels.motion import motion_kernels
from blindinv.mstep.hqs import HQS, DataStep, l1, l2
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.fourier import Spectrum, fft, ifft, otf, psf


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def identity(k, sigma):
    return k


@pytest.mark.parametrize("size", [(8, 8), (7, 7)])
@pytest.mark.parametrize("coloured", [False, True])
def test_data_step_is_dense_least_squares(size, coloured, dense):
    n, s, spread = size[0], 3.0, 0.7
    y, x, k = rand(1, 3, *size), rand(1, 3, *size, seed=1), rand(1, 1, n, n, seed=2)
    weight = torch.full((1, 1, n, n // 2 + 1), s, dtype=torch.float64)
    if coloured:
        weight = 0.5 + (rand(1, 1, n, n // 2 + 1, seed=3))
        for column in [0] + ([n // 2] if n % 2 == 0 else []):
            weight[..., column] = (weight[..., column] + weight[..., column].flip(-1).roll(1, -1)) / 2
    W = dense(lambda v: ifft(weight * fft(v), size), (1, *size))
    left, right = spread * torch.eye(n * n, dtype=torch.float64), spread * k.flatten()
    for c in range(3):
        X = dense(lambda z, c=c: CircularConvolution()(x[:, c : c + 1], z), (1, n, n))
        left, right = left + X.T @ W @ X, right + X.T @ W @ y[0, c].flatten()
    expected = torch.linalg.solve(left, right).view(1, 1, n, n)
    torch.testing.assert_close(DataStep.of(y, x, weight)(k, spread), expected, atol=1e-9, rtol=0)


def test_data_step_cuts_the_minimiser_of_the_torus():
    y, x, k = rand(2, 3, 16, 16), rand(2, 3, 16, 16, seed=1), rand(2, 1, 5, 5, seed=2)
    whole = DataStep.of(y, x, torch.ones((), dtype=torch.float64))(resize_no_norm(k, 16), 0.3)
    torch.testing.assert_close(DataStep.of(y, x, torch.ones((), dtype=torch.float64))(k, 0.3), whole[..., 6:11, 6:11])


def resize_no_norm(k, n):
    return psf(otf(k, (n, n)), (n, n), n)


@pytest.mark.parametrize(("prox", "penalty"), [(l1, lambda z: z.abs()), (l2, lambda z: z.square() / 2)])
def test_l1_and_l2_are_proximal_operators(prox, penalty):
    z = torch.linspace(-2, 2, 40001, dtype=torch.float64)
    for k in (-1.3, -0.1, 0.0, 0.2, 0.9):
        for sigma in (0.3, 0.8):
            best = z[(0.5 * (z - k).square() + sigma**2 * penalty(z)).argmin()]
            assert prox(torch.tensor(k, dtype=torch.float64), sigma).item() == pytest.approx(best.item(), abs=2e-4)


@pytest.fixture(scope="module")
def problem(scenes):
    """Three sharp images, their kernels and observations at sigma = 0.005."""
    x, k = scenes(3, 3, 64), motion_kernels(3, 13, 1.0, torch.Generator().manual_seed(5))
    noise = 0.005 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return x, k, CircularConvolution()(x, k) + noise, torch.full((3, 1, 1, 1), 0.005)


@pytest.mark.parametrize("prior", [identity, l1, l2])
@pytest.mark.parametrize("size", [13, 14])
def test_the_true_image_gives_the_true_kernel(problem, prior, size):
    x, k, y, sigma = problem
    estimate = HQS(CircularConvolution(), prior)(y, x, delta(size, 3), 0, sigma)
    assert (mnc(delta(13, 3), k) < 0.8).all()
    assert (mnc(estimate, k) > 0.99).all()
    assert (centre_of_mass(estimate) - centre_of_mass(k)).abs().max() < 0.1  # not even shifted
    assert (estimate >= 0).all()
    torch.testing.assert_close(estimate.sum((1, 2, 3)), torch.ones(3))


def test_the_true_image_gives_the_true_kernel_with_free_borders(problem):
    """What lies outside the frame comes from the old kernel, so it takes a few M-steps: 44 % of this canvas does."""
    x, k, _, sigma = problem
    A, frame, estimate, figures = FreeConvolution(), (48, 48), delta(13, 3), []
    assert A.canvas(frame, 13) == (64, 64)
    y = A(x, k, frame) + 0.005 * torch.randn(3, 3, *frame, generator=torch.Generator().manual_seed(1))
    for _ in range(6):
        estimate = HQS(A, identity)(y, x, estimate, 0, sigma)
        figures.append(mnc(estimate, k))
    assert (torch.stack(figures).diff(dim=0) > 0).all()
    assert (figures[-1] > 0.98).all()


def test_samples_do_not_touch_each_other(problem):
    x, _k, y, sigma = problem
    spectrum = Spectrum([0], torch.linspace(-5, -9, 16).exp()[None])
    for A, frame in ((CircularConvolution(), (64, 64)), (FreeConvolution(), (48, 48))):
        step = HQS(A, l1, iterations=3, spectrum=spectrum, momentum=0.5, centre=True)
        seen = A.frame(y, frame).contiguous()
        together = step(seen, x, delta(13, 3), 0, sigma)
        torch.testing.assert_close(step(seen[:1], x[:1], delta(13), 0, sigma[:1]), together[:1], atol=1e-5, rtol=0)


def test_the_error_spectrum_says_what_not_to_believe(problem):
    """An image that is wrong at high frequencies, by a known power: weighting by it gives the better kernel."""
    x, k, y, sigma = problem
    power = Spectrum([0], torch.linspace(-14, -2, 32).exp()[None])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(7))
    wrong = x + ifft(power(0, (64, 64)).sqrt() * fft(noise), (64, 64))
    plain = HQS(CircularConvolution(), identity, iterations=5)(y, wrong, k, 0, sigma)
    weighted = HQS(CircularConvolution(), identity, iterations=5, spectrum=power)(y, wrong, k, 0, sigma)
    assert (mnc(weighted, k) > mnc(plain, k)).all()


def test_momentum_and_centring(problem):
    x, k, y, sigma = problem
    A, start = CircularConvolution(), delta(13, 3)
    fresh = HQS(A, identity)(y, x, start, 0, sigma)
    half = HQS(A, identity, momentum=0.5)(y, x, start, 0, sigma)
    torch.testing.assert_close(half, 0.5 * start + 0.5 * fresh)
    moved = y.roll((2, -3), (-2, -1))
    wide = delta(21, 3)
    off, on = (HQS(A, identity, centre=c)(moved, x, wide, 0, sigma) for c in (False, True))
    assert (centre_of_mass(off) - centre_of_mass(k) - torch.tensor([2, -3])).abs().max() < 0.2
    assert centre_of_mass(on).abs().max() <= 0.5
    assert (mnc(on, resize_support(k, 21)) > 0.99).all()


def test_the_prior_is_called_with_its_noise_level(problem):
    x, _, y, sigma = problem
    levels = []

    def spy(k, level):
        levels.append(level)
        return k

    HQS(CircularConvolution(), spy, delta=4e6, lam=0.25, iterations=7)(y, x, delta(13, 3), 0, sigma)
    assert levels == [pytest.approx(2.5e-4)] * 7


def test_least_squares_go_from_the_kernel_to_the_data():
    x = rand(1, 3, 48, 48).float()
    true = motion_kernels(1, 15, 0.5, torch.Generator().manual_seed(0))
    k, sigma = delta(15), torch.full((1, 1, 1, 1), 1e-3)
    y = CircularConvolution()(x, true)
    held, free = HQS(CircularConvolution(), identity).squares(y, x, k, 200, sigma, (1e14, 1e-3)).split(1, 1)
    torch.testing.assert_close(held, k, atol=1e-4, rtol=0)
    torch.testing.assert_close(free, true, atol=1e-3, rtol=0)
