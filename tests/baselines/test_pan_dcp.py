"""The dark channel and the steps of Pan-DCP by brute force; the whole method on a photo."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindinv.baselines.pan_dcp import PanDCP, _Kernel, _Latent, dark_channel, pan_dcp, without_faint_dark
from blindinv.baselines.sparse import sparse_deconvolution
from blindinv.kernels.measure import centre_of_mass, delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.metrics import best_shift, levin_psnr, psnr
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.fourier import fft, gradient_otf, ifft, otf
from blindinv.problem import Deblurring, run

QUICK = PanDCP(iterations=4, last=2, patch=9)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("patch", [3, 4, 9])
def test_dark_channel_is_the_least_neighbour_and_where_it_is(patch):
    x = rand(2, 1, 11, 14)
    least, index = dark_channel(x, patch)
    low, high = patch // 2, patch - 1 - patch // 2
    for i in range(11):
        for j in range(14):
            near = x[..., max(0, i - low) : i + high + 1, max(0, j - low) : j + high + 1]
            assert torch.equal(least[..., i, j], near.amin((-2, -1)))
    assert torch.equal(x.flatten(1).gather(1, index.flatten(1)).view_as(x), least)


def test_only_faint_dark_pixels_become_zero():
    x = 0.5 + 0.4 * rand(1, 1, 20, 20)
    x[..., 9:12, 9:12] = 0.01  # faint, the darkest of their neighbours ...
    x[..., 10, 10] = 0.06  # ... but for this one, which is faint in the shadow of darker ones
    x[..., 3, 18] = 0.2  # darkest, not faint
    out = without_faint_dark(x, 0.1**2, 3)
    kept = torch.ones_like(x, dtype=torch.bool)
    kept[..., 9:12, 9:12] = False
    kept[..., 10, 10] = True
    assert torch.equal(out[kept], x[kept])
    assert (out[~kept] == 0).all()


def test_dark_pixels_are_drawn_to_zero_and_blur_makes_them_rarer(astronaut):
    x = astronaut.mean(1, keepdim=True)[..., 60:188, 60:188]
    k = motion_kernels(1, 15, 0.5, torch.Generator().manual_seed(1))
    y = CircularConvolution()(x, k)
    assert (dark_channel(y, 9)[0] < 0.02).float().mean() < (dark_channel(x, 9)[0] < 0.02).float().mean()
    size, dx_dy = (128, 128), gradient_otf((128, 128))
    latent = _Latent(size, *dx_dy, 9, (8.0, 8.0))
    with_prior, without = (latent.solve(fft(y), otf(k, size), dark, 4e-3, y) for dark in (4e-3, 0.0))
    count = [(dark_channel(u, 9)[0].abs() < 0.02).float().mean() for u in (with_prior, without)]
    assert count[0] > count[1] + 0.05


def test_kernel_step_equals_dense_least_squares():
    size, n, gamma = (12, 10), 5, 0.3
    x, b = rand(2, 1, *size).double(), rand(2, 1, *size, seed=1).double()
    mask = (rand(1, 1, *size, seed=2) > 0.3).double()
    step = _Kernel((fft(x[:1]), fft(x[1:])), mask, gamma)
    k = step.solve((b[:1], b[1:]), torch.zeros(1, 1, n, n, dtype=torch.float64), 60)
    basis = torch.eye(n * n, dtype=torch.float64).view(-1, 1, n, n)
    columns = [mask * ifft(otf(basis, size) * fft(g[None]), size) for g in x]
    A = torch.cat([c.view(n * n, -1).T for c in columns])
    target = torch.cat([(mask * part[None]).flatten() for part in b])
    dense = torch.linalg.solve(A.T @ A + gamma * torch.eye(n * n, dtype=torch.float64), A.T @ target)
    torch.testing.assert_close(k.flatten(), dense, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("circular", [True, False])
def test_finds_kernel_and_image(astronaut, circular):
    k = torch.zeros(1, 1, 17, 17)
    for i in range(11):
        k[..., 3 + i, 6 + i // 2] = 1 / 11
    truth = astronaut if circular else astronaut[..., 16:240, 16:240]
    y = CircularConvolution()(astronaut, k) if circular else FreeConvolution()(astronaut, k, (224, 224))
    p = Deblurring.of(y, 0.005, 17, circular)
    steps = list(pan_dcp(p, QUICK))
    assert [s.step for s in steps] == list(range(1, steps[0].total + 1))
    result = run(p, iter(steps))
    assert (result.kernel >= 0).all() and result.kernel.sum() == pytest.approx(1)
    assert mnc(delta(17), k).item() < 0.5 < 0.8 < mnc(result.kernel, k, upsample=4).item()
    assert centre_of_mass(result.kernel).abs().max() < 1
    before, after = (best_shift(u, truth)[0] if circular else u for u in (p.y, result.image))
    score = psnr if circular else levin_psnr
    assert score(after, truth).item() > score(before, truth).item() + 3


def test_a_known_kernel_leaves_the_last_step(astronaut):
    k = motion_kernels(1, 15, 0.5, torch.Generator().manual_seed(1))
    p = Deblurring.of(CircularConvolution()(astronaut[..., :96, :96], k), 0.01, kernel=k, circular=True)
    result = run(p, pan_dcp(p))
    assert torch.equal(result.image, sparse_deconvolution(p))


def test_batch_mates_do_not_matter(astronaut):
    """In float64: its thresholds turn the rounding of float32 into visible changes now and then."""
    x = torch.cat([astronaut[..., i : i + 64, 60:124] for i in (0, 120)]).double()
    y = CircularConvolution()(x, motion_kernels(2, 11, 0.8, torch.Generator().manual_seed(4)).double())
    both, alone = (Deblurring.of(v, 0.01, 11, False) for v in (y, y[:1]))
    a, b = run(both, pan_dcp(both, QUICK)), run(alone, pan_dcp(alone, QUICK))
    torch.testing.assert_close(a.kernel[:1], b.kernel, atol=1e-6, rtol=0)
    torch.testing.assert_close(a.image[:1], b.image, atol=1e-5, rtol=0)


def test_weights_fall_to_the_least():
    s = PanDCP(dark=4e-3, gradient=2e-3, decay=2.0, least=1e-3)
    assert [s.weights(i) for i in range(3)] == [(4e-3, 2e-3), (2e-3, 1e-3), (1e-3, 1e-3)]
    assert replace(s, dark=0.0).weights(5) == (0.0, 1e-3)
