import pytest
import torch

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.tilt import tilt_maps, tilt_power
from blindinv.mstep.tilt import TiltStep, slopes
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.fourier import Spectrum, fft, ifft
from blindinv.operators.turbulence import Turbulence

SIGMA = torch.full((1, 1, 1, 1), 0.01)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def no_error():
    return Spectrum([0], torch.full((1, 64), 1e-12))


def scene(size, seed=0):
    """A smooth random image with slopes everywhere, (1, 3, *size) in about [0, 1]."""
    x = torch.randn(1, 3, *size, generator=rng(seed))
    f = torch.fft.fftfreq(size[0])[:, None].square() + torch.fft.rfftfreq(size[1])[None].square()
    return 0.5 + 1.5 * ifft(torch.exp(-60 * f) * fft(x), size)


def test_is_the_minimiser_of_its_quadratic_by_dense_algebra(dense):
    size, k = (12, 14), gaussian_kernel(9, 1.0).double()
    A, x, tilt = Turbulence(CircularConvolution()), scene(size).double(), torch.zeros(1, 2, *size, dtype=torch.float64)
    y = A(x, {"kernel": k, "tilt": tilt_maps(1, size, rng(1)).double()})
    step = TiltStep(A, k, no_error(), iterations=400)
    root = tilt_power(size).double().sqrt()
    right, down = slopes(x)
    J = dense(lambda d: A.blur(right * d[:, :1] + down * d[:, 1:], k), (2, *size))
    S = dense(lambda u: ifft(root.square() * fft(u), size), (2, *size))
    H = S @ J.T @ J / 0.01**2 + torch.eye(len(S), dtype=torch.float64)
    expected = torch.linalg.solve(H, S @ J.T @ (y - A.blur(x, k)).flatten() / 0.01**2)
    found = step(y, x, tilt, 0, SIGMA.double())
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("blur", [CircularConvolution(), FreeConvolution()], ids=["circular", "free"])
def test_finds_the_tilt_of_a_known_image(blur):
    A, k = Turbulence(blur), gaussian_kernel(9, 0.7)
    size = A.canvas((48, 64), 9)
    x, tilt = scene(size), tilt_maps(1, size, rng(2))
    phi = {"kernel": k, "tilt": tilt}
    y = A.frame(A(x, phi), (48, 64))
    y = y + 0.002 * torch.randn(y.shape, generator=rng(3))
    step, found = TiltStep(A, k, no_error(), iterations=30), torch.zeros_like(tilt)
    errors = []
    for _ in range(3):
        found = step(y, x, found, 0, 0.2 * SIGMA)
        errors.append(float(A.frame(found - tilt, (48, 64)).square().mean() / A.frame(tilt, (48, 64)).square().mean()))
    assert errors[0] < 0.6 and errors[-1] <= errors[0]


def test_what_cannot_be_seen_is_left_at_the_mean_of_the_prior():
    A, k, size = Turbulence(CircularConvolution()), gaussian_kernel(9, 1.0), (32, 32)
    flat = torch.full((1, 3, *size), 0.5)
    found = TiltStep(A, k, no_error())(flat, flat, torch.zeros(1, 2, *size), 0, SIGMA)
    assert torch.equal(found, torch.zeros_like(found))
    x, y = scene(size), scene(size) + 0.3 * torch.randn(1, 3, *size, generator=rng(4))
    sizes = [TiltStep(A, k, no_error(), temper=c)(y, x, torch.zeros(1, 2, *size), 0, 30 * SIGMA).std() for c in (1, 10, 1000)]
    assert sizes[0] > sizes[1] > sizes[2] and sizes[2] < 0.05


def test_momentum_keeps_a_share_of_the_old_field():
    A, k, size = Turbulence(CircularConvolution()), gaussian_kernel(9, 1.0), (24, 32)
    x, old = scene(size), tilt_maps(1, size, rng(8))
    y = A(x, {"kernel": k, "tilt": tilt_maps(1, size, rng(9))})
    fresh, kept = (TiltStep(A, k, no_error(), momentum=m)(y, x, old, 0, SIGMA) for m in (0.0, 0.7))
    torch.testing.assert_close(kept, 0.7 * old + 0.3 * fresh)


def test_samples_do_not_touch_each_other():
    A, k, size = Turbulence(CircularConvolution()), gaussian_kernel(9, 1.0), (24, 32)
    x = torch.cat([scene(size, 5), scene(size, 6)])
    tilt = tilt_maps(2, size, rng(7))
    y, zero, sigma = A(x, {"kernel": k, "tilt": tilt}), torch.zeros_like(tilt), SIGMA.expand(2, -1, -1, -1)
    step = TiltStep(A, k, no_error())
    torch.testing.assert_close(step(y, x, zero, 0, sigma)[1:], step(y[1:], x[1:], zero[1:], 0, sigma[1:]), rtol=1e-4, atol=1e-5)
