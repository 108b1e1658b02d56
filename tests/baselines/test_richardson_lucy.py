"""Blind Richardson-Lucy keeps what explains the observation, and improves what does not."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindinv.baselines.richardson_lucy import RichardsonLucy, _first, richardson_lucy
from blindinv.kernels.measure import centre_of_mass, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.metrics import levin_psnr, psnr
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.problem import Deblurring, run

KERNEL = motion_kernels(2, 13, 0.5, torch.Generator().manual_seed(3))


def problem(photo: Tensor, circular: bool, known: bool = False) -> Deblurring:
    """Two blurs of one photo without noise."""
    x = photo.expand(2, -1, -1, -1)
    if circular:
        y = CircularConvolution()(x[..., 80:176, 80:176], KERNEL)
    else:
        y = FreeConvolution()(x[..., 64:192, 64:192], KERNEL, (96, 96))
    return Deblurring.of(y, 0.001, 13, circular, KERNEL if known else None)


@pytest.mark.parametrize("circular", [True, False])
def test_a_known_kernel_sharpens_and_stays(astronaut, circular):
    p, truth = problem(astronaut, circular, known=True), astronaut[..., 80:176, 80:176].expand(2, -1, -1, -1)
    result = run(p, richardson_lucy(p, RichardsonLucy(iterations=30)))
    assert torch.allclose(result.kernel, KERNEL)
    score = psnr if circular else levin_psnr
    assert (score(result.image, truth) > score(p.y, truth) + 3).all()


@pytest.mark.parametrize("size", [12, 13])
def test_the_residual_falls_and_the_kernel_stays_a_kernel(astronaut, size):
    p = replace(problem(astronaut, True), kernel_size=size)
    residual = []
    for step in richardson_lucy(p, RichardsonLucy(iterations=12)):
        residual.append((p.y - p.A(step.x, step.phi)).square().mean((1, 2, 3)))
        assert (step.phi >= 0).all() and step.phi.shape == (2, 1, size, size)
        torch.testing.assert_close(step.phi.sum((1, 2, 3)), torch.ones(2))
    assert all((after < before).all() for before, after in itertools.pairwise(residual))


def test_a_perfect_estimate_is_a_fixed_point(astronaut):
    x = astronaut[..., 80:144, 80:144]
    k = motion_kernels(1, 14, 0.5, torch.Generator().manual_seed(3))
    p = Deblurring.of(CircularConvolution()(x, k), 0.001, 14, True)
    from deepinv.optim.optim_iterators import BlindRLIteration
    from deepinv.optim.prior import ZeroPrior
    from deepinv.physics import Blur

    physics = Blur(filter=k, padding="circular", use_fft=True)
    new, q = BlindRLIteration(use_fft=True)({"est": (x, k)}, None, ZeroPrior(), {}, p.y, physics)["est"]
    torch.testing.assert_close(q, k, atol=1e-5, rtol=0)
    torch.testing.assert_close(new, x, atol=1e-3, rtol=0)


def test_the_kernel_comes_nearer(astronaut):
    p = problem(astronaut, True)
    result = run(p, richardson_lucy(p, RichardsonLucy(iterations=12)))
    assert (mnc(result.kernel, KERNEL) > mnc(_first(p, 0.1), KERNEL)).all()
    assert centre_of_mass(_first(p, 0.1)).abs().max() < 1e-4


def test_batch_mates_do_not_matter(astronaut):
    p = problem(astronaut, False)
    alone = Deblurring(p.y[:1], p.sigma[:1], 13, p.A)
    settings = RichardsonLucy(iterations=5)
    both, one = run(p, richardson_lucy(p, settings)), run(alone, richardson_lucy(alone, settings))
    torch.testing.assert_close(both.image[:1], one.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(both.kernel[:1], one.kernel, atol=1e-5, rtol=0)
