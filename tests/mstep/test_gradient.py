"""Descent on the residual against least squares, and with a forward model that is not linear."""

import torch

from blindinv.kernels.measure import mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.mstep.gradient import Gradient
from blindinv.operators.convolution import CircularConvolution

LEVEL = torch.full((2, 1, 1, 1), 0.01)


def test_it_finds_the_least_squares_kernel(scenes):
    """Sharp scenes, little noise: the kernel that made y, each sample its own."""
    x, k, A = scenes(2, 3, 32), motion_kernels(2, 9, 0.5, torch.Generator().manual_seed(1)), CircularConvolution()
    y = A(x, k) + 0.002 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(k, 1 / 81)
    found = Gradient(A, iterations=120)(y, x, flat, 0, LEVEL)
    assert mnc(flat, k).max() < 0.8 and mnc(found, k).min() > 0.98
    alone = Gradient(A, iterations=120)(y[:1], x[:1], flat[:1], 0, LEVEL[:1])
    torch.testing.assert_close(alone, found[:1], atol=1e-6, rtol=0)
    assert not found.requires_grad


def test_without_noise_and_projection_it_descends_to_zero(scenes):
    x, A = scenes(2, 3, 32), CircularConvolution()
    k = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(2)) - 0.3
    found = Gradient(A, lambda k: k, iterations=300)(A(x, k), x, torch.zeros_like(k), 0, LEVEL)
    torch.testing.assert_close(found, k, atol=1e-3, rtol=0)


class Gamma:
    """y = x^phi, one exponent a sample: not linear in phi."""

    def __call__(self, x, phi):
        return x.clamp(min=1e-3) ** phi

    def frame(self, x, frame):
        return x


def test_a_model_that_is_not_linear(scenes):
    x, phi = scenes(2, 3, 16), torch.tensor([1.7, 0.6]).view(2, 1, 1, 1)
    found = Gradient(Gamma(), lambda v: v, iterations=60)(Gamma()(x, phi), x, torch.ones_like(phi), 0, LEVEL)
    torch.testing.assert_close(found, phi, atol=1e-3, rtol=0)
