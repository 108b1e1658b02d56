"""The untrained networks fit the one photo, each its own; the result is an image, a kernel and its colours."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindinv.baselines.selfdeblur import ImageNetwork, SelfDeblur, selfdeblur
from blindinv.baselines.sparse import sparse_deconvolution_canvas
from blindinv.kernels.measure import centre_of_mass
from blindinv.metrics import psnr
from blindinv.operators.convolution import CircularConvolution
from blindinv.problem import Deblurring, run
from blindinv.solve import Progress

QUICK = SelfDeblur(iterations=12, width=8, skip=4, depth=3, hidden=20, sparse=0.0)
KERNEL = torch.eye(11).flip(0)[None, None].repeat(2, 1, 1, 1) / 11


def problem(photo: Tensor, circular: bool = True, known: bool = False) -> Deblurring:
    y = CircularConvolution()(photo[..., 30:94, 60:124].expand(2, -1, -1, -1), KERNEL)
    return Deblurring.of(y, 0.01, 11, circular, KERNEL if known else None)


@pytest.mark.parametrize("circular", [True, False])
def test_shapes_ranges_and_a_kernel_that_is_one(astronaut, circular):
    p = problem(astronaut, circular)
    steps = list(selfdeblur(p, QUICK))
    assert [s.step for s in steps] == list(range(1, 14)) and steps[0].total == 13
    for s in steps:
        assert s.x.shape == (2, 3, *p.canvas) and not s.x.requires_grad and not s.phi.requires_grad
        assert (s.phi >= 0).all()
        torch.testing.assert_close(s.phi.sum((1, 2, 3)), torch.ones(2))
    assert centre_of_mass(steps[-1].phi).abs().max() <= 0.75
    assert run(p, iter(steps)).image.shape == p.y.shape


def test_a_known_kernel_stays_while_its_image_fits_and_sharpens(astronaut):
    p, truth = problem(astronaut, known=True), astronaut[..., 30:94, 60:124]
    p = replace(p, y=p.y[:1], sigma=p.sigma[:1], kernel=KERNEL[:1])
    steps = list(selfdeblur(p, replace(QUICK, iterations=120, mse=1.0)))
    error = [(p.A(s.x.mean(1, True), s.phi) - p.y.mean(1, True)).square().mean() for s in steps]
    assert error[-2] < 0.1 * error[0]
    result = run(p, iter(steps))
    assert torch.equal(result.kernel, KERNEL[:1])
    assert psnr(result.image, truth).item() > psnr(p.y, truth).item()


def test_a_centred_kernel_and_its_image_explain_the_same(astronaut):
    p = problem(astronaut)
    *_, before, after = selfdeblur(p, replace(QUICK, jitter=0.0, rates=(0.0, 0.0)))
    made, same = p.A(before.x.mean(1, True), before.phi), p.A(after.x.mean(1, True), after.phi)
    torch.testing.assert_close(made, same, atol=1e-5, rtol=0)


def test_colours_are_those_of_a_deconvolution_with_the_kernel(astronaut):
    p = problem(astronaut)
    *_, last = selfdeblur(p, replace(QUICK, iterations=2))
    colours = sparse_deconvolution_canvas(p.with_kernel(last.phi))
    tints = (u - u.mean(1, keepdim=True) for u in (last.x, colours))
    torch.testing.assert_close(*tints)
    assert (colours - colours.mean(1, keepdim=True)).abs().max() > 0.05


def test_batch_mates_and_global_seeds_do_not_matter(astronaut):
    p = problem(astronaut)
    alone = replace(p, y=p.y[1:], sigma=p.sigma[1:], rng=[torch.Generator().manual_seed(p.rng[1].initial_seed())])
    settings = replace(QUICK, iterations=3)
    state = torch.get_rng_state()
    both = run(p, selfdeblur(p, settings))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    one = run(alone, selfdeblur(alone, settings))
    torch.testing.assert_close(both.kernel[1:], one.kernel, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both.image[1:], one.image, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (72, 50)])
def test_the_network_works_at_any_size(size):
    x = ImageNetwork(8, 4, 4)(torch.rand(1, 8, *size))
    assert x.shape == (1, 1, *size)
    assert (x > 0).all() and (x < 1).all()


def test_the_result_is_averaged_with_a_deconvolution(astronaut):
    def made(sparse: float) -> Progress:
        return list(selfdeblur(problem(astronaut), replace(QUICK, iterations=2, sparse=sparse)))[-1]

    own, half, classical = made(0.0), made(0.5), made(1.0)
    torch.testing.assert_close(classical.x, sparse_deconvolution_canvas(problem(astronaut).with_kernel(own.phi)))
    torch.testing.assert_close(half.x, (own.x + classical.x) / 2)
    assert (own.x - classical.x).abs().mean() > 0.01
