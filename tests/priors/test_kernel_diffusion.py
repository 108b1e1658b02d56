"""Kernels as diffusion states, and the preconditioning for fields that are not stationary."""

import pytest
import torch
from torch import nn

from blindinv.kernels.mixture import mixed_kernels
from blindinv.priors.kernel_diffusion import KernelDiffusion, PixelwiseDenoiser
from blindinv.priors.patches import Patches
from blindinv.priors.uniform import UniformPrior, truncated_normal_mean
from blindinv.schedule import Schedule


class Constant(nn.Module):
    """A network that answers the same everywhere: F and G."""

    def __init__(self, f, g=40.0):
        super().__init__()
        self.f, self.g = f, g

    def forward(self, x, t):
        return torch.cat([torch.full_like(x[:, :1], self.f), torch.full_like(x[:, :1], self.g)], 1)


def test_kernels_come_back_and_any_state_decodes_to_the_simplex():
    prior = UniformPrior(16)
    k = mixed_kernels(3, 16, torch.Generator().manual_seed(0))
    z = prior.encode(k)
    assert z.amax() == 1
    assert prior.shape((3, 3, 99, 77)) == z.shape
    torch.testing.assert_close(prior.decode(z), k)
    for z in (3 * torch.randn(2, 1, 16, 16), -5 * torch.ones(1, 1, 16, 16)):
        decoded = prior.decode(z)
        assert decoded.min() >= 0
        torch.testing.assert_close(decoded.sum((1, 2, 3)), torch.ones(len(z)))
    torch.testing.assert_close(prior.raw(2 * z - 1).sum(), torch.zeros(()))


def test_decode_is_differentiable():
    prior = UniformPrior(5)
    z = (1.5 * torch.rand(2, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1.2).requires_grad_()
    assert torch.autograd.gradcheck(prior.decode, (z,), atol=1e-6)


def test_kernels_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"kernels of \(1, 16, 16\)"):
        UniformPrior(16).encode(torch.ones(1, 1, 17, 17))


def test_with_an_open_gate_it_is_the_posterior_mean_of_gaussian_pixels_and_f_counts_in_its_deviations():
    schedule, generator = Schedule.linear(), torch.Generator().manual_seed(0)
    model, one = (PixelwiseDenoiser(Constant(f), 4, schedule.abar) for f in (0.0, 1.0))
    mean, std = torch.randn(1, 1, 4, 4, generator=generator), 0.2 + torch.rand(1, 1, 4, 4, generator=generator)
    model.fit(mean + std * torch.randn(200_000, 1, 4, 4, generator=generator))
    one.load_state_dict(model.state_dict())
    for t in (20, 300, 700):
        a, z_t, times = schedule.at(t), torch.randn(2, 1, 4, 4, generator=generator), torch.full((2,), t)
        precision = 1 / std.square() + a / (1 - a)
        want = (mean / std.square() + a**0.5 * z_t / (1 - a)) / precision
        torch.testing.assert_close(model(z_t, times), want, rtol=0.02, atol=0.02)
        gain = one(z_t, times) - model(z_t, times)
        torch.testing.assert_close(gain, precision.rsqrt().expand_as(z_t), rtol=0.02, atol=0.01)


def test_a_closed_gate_is_an_empty_pixel():
    schedule = Schedule.linear()
    prior = KernelDiffusion(PixelwiseDenoiser(Constant(0.3, -40.0), 4, schedule.abar), schedule, 4)
    assert torch.equal(prior.denoise(torch.randn(2, 1, 4, 4), 500), -torch.ones(2, 1, 4, 4))


def test_values_are_clipped_and_gradients_pass():
    schedule = Schedule.linear()
    prior, z_t = KernelDiffusion(PixelwiseDenoiser(Constant(0.0), 4, schedule.abar), schedule, 4), torch.full((1, 1, 4, 4), 3.0)
    z0 = prior.denoise(z_t.requires_grad_(), 10)
    assert torch.equal(z0, torch.ones_like(z0))
    (slope,) = torch.autograd.grad(z0.sum(), z_t)
    assert (slope > 0.5).all()


@pytest.mark.parametrize("t", [0, 3, 60, 400, 999])
def test_the_uniform_prior_is_the_integral(t):
    prior, x = UniformPrior(3), torch.linspace(-1, 1, 400_001, dtype=torch.float64)
    a = prior.schedule.at(t)
    z_t = a**0.5 * torch.linspace(-1.3, 1.3, 9, dtype=torch.float64) + (1 - a) ** 0.5 * torch.linspace(
        -3, 3, 9, dtype=torch.float64
    )
    log = -(z_t[:, None] - a**0.5 * x).square() / (2 * (1 - a))
    p = (log - log.amax(1, keepdim=True)).exp()
    want = torch.trapezoid(p * x, x) / torch.trapezoid(p, x)
    torch.testing.assert_close(prior.denoise(z_t.view(1, 1, 3, 3), t).flatten(), want, rtol=0, atol=1e-6)


def test_the_uniform_prior_is_finite_and_smooth_everywhere():
    for std in (1e-3, 0.01, 1.0, 150.0, 1e4):
        m = torch.tensor([-1e6, -500.0, -30.0, -1.0001, -1.0, -0.9999, 0.0, 0.5, 1.0, 2.0, 1e6], requires_grad=True)
        out = truncated_normal_mean(m, std)
        (slope,) = torch.autograd.grad(out.sum(), m)
        assert out.isfinite().all()
        assert slope.isfinite().all()
        assert (out.abs() <= 1).all()
        assert (out.diff() >= -1e-8).all()


def test_patches_fill_up_and_cut_again():
    """A network that gives its input back, at sizes that fit and that do not."""

    class Same(nn.Module):
        def forward(self, x, t):
            assert x.shape[-1] % 4 == 0
            assert x.shape[-2] % 4 == 0
            return x

    for size in ((16, 24), (17, 9)):
        x = torch.randn(2, 3, *size)
        assert torch.equal(Patches(Same(), 2, 4)(x, torch.zeros(2)), x)
