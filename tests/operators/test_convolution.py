"""The forward model: adjoints, direct sums, and the Gaussian posterior mean as dense algebra."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch

from blindinv.operators.convolution import CircularConvolution, FreeConvolution, mean_image, wiener
from blindinv.operators.fourier import fft, ifft

SIZES = [((12, 17), 3), ((12, 17), 4), ((9, 8), 5), ((16, 16), 6), ((7, 11), 7), ((8, 8), 8)]


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dot(a, b):
    return (a * b).sum((1, 2, 3))


@pytest.mark.parametrize(("size", "n"), SIZES)
def test_circular_adjoint(size, n):
    A, x, y, k = CircularConvolution(), rand(3, 2, *size), rand(3, 2, *size, seed=1), rand(3, 1, n, n, seed=2)
    torch.testing.assert_close(dot(A(x, k), y), dot(x, A.adjoint(y, k)))


@pytest.mark.parametrize(("frame", "n"), SIZES)
def test_free_adjoint(frame, n):
    A, k = FreeConvolution(multiple=4), rand(3, 1, n, n, seed=2)
    canvas = A.canvas(frame, n)
    x, y = rand(3, 2, *canvas), rand(3, 2, *frame, seed=1)
    assert A(x, k, frame).shape == y.shape
    torch.testing.assert_close(dot(A(x, k, frame), y), dot(x, A.adjoint(y, k, canvas)))


@pytest.mark.parametrize(("size", "n"), SIZES)
def test_circular_is_convolution_with_origin_at_half(size, n):
    x, k = rand(1, 1, *size), rand(1, 1, n, n, seed=2)
    expected = sum(
        k[0, 0, i, j] * x.roll((i - n // 2, j - n // 2), (-2, -1)) for i in range(n) for j in range(n)
    )  # y[p] = sum_j k[j] x[p - (j - n // 2)]
    torch.testing.assert_close(CircularConvolution()(x, k), expected)


def test_circular_equals_scipy_convolution_not_correlation():
    x, k = rand(1, 1, 14, 15), rand(1, 1, 5, 5, seed=1)
    y = CircularConvolution()(x, k)[0, 0].numpy()
    np.testing.assert_allclose(y, scipy.ndimage.convolve(x[0, 0].numpy(), k[0, 0].numpy(), mode="wrap"))
    assert abs(y - scipy.ndimage.correlate(x[0, 0].numpy(), k[0, 0].numpy(), mode="wrap")).max() > 0.1


@pytest.mark.parametrize("n", [9, 10, 15])
@pytest.mark.parametrize("frame", [(20, 27), (33, 16)])
def test_free_equals_direct_valid_convolution(n, frame):
    A = FreeConvolution()
    canvas = A.canvas(frame, n)
    x, k = rand(1, 1, *canvas), rand(1, 1, n, n, seed=1)
    valid = scipy.signal.convolve2d(x[0, 0].numpy(), k[0, 0].numpy(), "valid")  # valid[q] is y[q + n - 1 - n // 2]
    top, left = ((c - f) // 2 - (n - 1 - n // 2) for c, f in zip(canvas, frame, strict=True))
    expected = valid[top : top + frame[0], left : left + frame[1]]
    np.testing.assert_allclose(A(x, k, frame)[0, 0].numpy(), expected)
    np.testing.assert_allclose(A.frame(A(x, k), frame)[0, 0].numpy(), expected)


def test_each_sample_has_its_own_kernel():
    A, x, k = CircularConvolution(), rand(3, 3, 16, 16), rand(3, 1, 5, 5, seed=1)
    for b in range(3):
        torch.testing.assert_close(A(x, k)[b : b + 1], A(x[b : b + 1], k[b : b + 1]))


def test_canvas_is_a_good_size_and_holds_a_kernel_around_the_frame():
    h, w = FreeConvolution().canvas((255, 255), 31)
    assert (h, w) == (288, 288)
    for n in (9, 64, 129):
        for frame in ((200, 313), (256, 256)):
            canvas = FreeConvolution().canvas(frame, n)
            assert all(c % 16 == 0 and c - f >= n for c, f in zip(canvas, frame, strict=True))


@pytest.mark.parametrize(("A", "frame"), [(CircularConvolution(), (8, 10)), (FreeConvolution(80, tolerance=0.0), (5, 6))])
def test_wiener_is_the_gaussian_posterior_mean(A, frame, dense):
    canvas, sigma = (8, 10), 0.1
    power = 0.02 + rand(1, 1, 8, 6, seed=3)
    power[..., 0] = (power[..., 0] + power[..., 0].flip(-1).roll(1, -1)) / 2  # a real field: S(-f) = S(f)
    power[..., 5] = (power[..., 5] + power[..., 5].flip(-1).roll(1, -1)) / 2
    k, x0, y = rand(1, 1, 3, 3, seed=1), rand(1, 1, *canvas), rand(1, 1, *frame, seed=4)
    k = k / k.sum()
    M = dense(lambda x: A.frame(A(x, k), frame), (1, *canvas))
    S = dense(lambda x: ifft(power * fft(x), canvas), (1, *canvas))
    gain = S @ M.T @ torch.linalg.inv(M @ S @ M.T + sigma**2 * torch.eye(len(M), dtype=torch.float64))
    expected = x0.flatten() + gain @ (y.flatten() - M @ x0.flatten())
    got = wiener(A, y, k, power, torch.full((1, 1, 1, 1), sigma, dtype=torch.float64), x0)
    torch.testing.assert_close(got.flatten(), expected, atol=1e-8, rtol=0)


def test_ten_iterations_of_the_fill_are_enough_for_a_photo(astronaut):
    k = torch.ones(1, 1, 9, 9) / 81
    f = torch.fft.fftfreq(96)[:, None].square() + torch.fft.rfftfreq(96).square()
    power, sigma = 1e-3 / (f + 1e-3), torch.full((1, 1, 1, 1), 0.02)
    scene = astronaut[..., 52:148, 52:148]
    y = FreeConvolution()(scene, k, (80, 80)) + 0.02 * torch.randn(1, 3, 80, 80, generator=torch.Generator().manual_seed(0))
    few, many = FreeConvolution(10), FreeConvolution(300)
    x0 = mean_image(few, y, 9)
    assert x0.shape[-2:] == (96, 96)
    difference = few.frame(wiener(few, y, k, power, sigma, x0) - wiener(many, y, k, power, sigma, x0), (80, 80))
    error = many.frame(wiener(many, y, k, power, sigma, x0) - scene, (80, 80))
    assert difference.square().mean() < 0.01 * error.square().mean()
