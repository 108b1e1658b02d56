import pytest
import torch

from blindinv.kernels.measure import centre_of_mass, delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.mstep.coarse_to_fine import CoarseToFine, coarse_to_fine, prune
from blindinv.operators.convolution import CircularConvolution, FreeConvolution


def last(steps):
    *_, k = steps
    return k


def line(size, length):
    """A straight diagonal movement."""
    k = torch.zeros(1, 1, size, size)
    for i in range(-(length // 2), length // 2 + 1):
        k[..., size // 2 + i, size // 2 + i // 2] = 1
    return k / k.sum()


GENTLE = CoarseToFine(tikhonov=2.0, prune=0.05, prune_late=0.02, fraction=0.03, l0=(4e-3, 1e-4), quantiles=(0.93, 0.6))


@pytest.mark.parametrize("settings", [CoarseToFine(), GENTLE])
@pytest.mark.parametrize("circular", [True, False])
def test_finds_a_motion_kernel_on_a_photo(astronaut, circular, settings):
    k, noise = line(25, 11), torch.Generator().manual_seed(0)
    y = CircularConvolution()(astronaut, k) if circular else FreeConvolution()(astronaut, k, (224, 224))
    y = y + 0.005 * torch.randn(y.shape, generator=noise)
    found = list(coarse_to_fine(y, 25, circular, settings))
    assert len(found) == len(settings.scales(25))
    for estimate in found:
        assert estimate.shape == (1, 1, 25, 25)
        assert estimate.sum() == pytest.approx(1)
        assert (estimate >= 0).all()
    assert mnc(delta(25), k).item() < 0.5
    assert mnc(found[-1], k).item() > 0.8
    assert centre_of_mass(found[-1]).abs().max() < 1


def test_finds_camera_shake_on_a_photo(astronaut):
    k = motion_kernels(3, 21, 0.8, torch.Generator().manual_seed(4))
    y = CircularConvolution()(astronaut.expand(3, -1, -1, -1), k)
    y = y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    found = mnc(last(coarse_to_fine(y, 21, True, GENTLE)), k)
    assert mnc(delta(21, 3), k).mean() < 0.6
    assert found.min() > 0.7


@pytest.mark.parametrize("circular", [True, False])
def test_samples_do_not_touch_each_other(astronaut, circular):
    """In float64: its thresholds turn the rounding of float32 (1e-7) into visible changes now and then."""
    x = torch.cat([astronaut[..., i : i + 64, 60:124] for i in (0, 60, 120)]).double()
    y = CircularConvolution()(x, motion_kernels(3, 11, 0.8, torch.Generator().manual_seed(4)).double())
    for together, alone in zip(coarse_to_fine(y, 11, circular, GENTLE), coarse_to_fine(y[:1], 11, circular, GENTLE), strict=True):
        torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [9, 10, 31, 64, 129])
def test_scales_rise_to_full_size(size):
    scales = CoarseToFine().scales(size)
    assert scales[-1] == 1
    assert scales == sorted(scales)
    assert size * scales[0] >= 6.9
    assert size * scales[0] < 7 * 2**0.5 + 0.1 or len(scales) == 1


def test_the_denoiser_works_at_the_fine_scales_only():
    levels = []

    def spy(k, sigma):
        levels.append(sigma)
        return k

    settings = CoarseToFine(iterations=2, denoise_from=0.6, denoise_sigma=1e-3)
    y = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    last(coarse_to_fine(y, 21, True, settings, spy))
    assert levels == pytest.approx([1e-3 * 2**0.5] * 2 + [1e-3] * 2)


def test_prune_cuts_faint_values_and_small_pieces():
    k = torch.zeros(1, 1, 9, 9)
    k[..., 1:3, 1] = 1.0  # a piece with most of the mass,
    k[..., 3, 2] = 0.5  # connected diagonally,
    k[..., 6, 6] = 0.2  # a small one,
    k[..., 2, 2] = 0.04  # and a faint value.
    out = prune(k, 0.05, 0.1)
    assert (out > 0).sum() == 3
    torch.testing.assert_close(out[..., 1:3, 1], torch.full((1, 1, 2), 0.4))
    assert out.sum() == pytest.approx(1)
    assert (prune(k, 0.05, 0.05) > 0).sum() == 4
    assert (prune(k, 0.01, 0.05) > 0).sum() == 5


def test_prune_keeps_something():
    scattered = torch.eye(9).repeat(1, 1, 1, 1).clone()
    scattered[..., 1::2, :] = 0  # five lone pixels of a fifth each
    assert (prune(scattered, 0.1, 0.5) > 0).sum() == 5
    assert torch.equal(prune(torch.zeros(1, 1, 9, 9), 0.1, 0.1), delta(9))


def test_prune_follows_a_long_winding_piece():
    k = torch.zeros(1, 1, 15, 15)
    for row in range(0, 15, 2):
        k[..., row, :] = 1
        k[..., row + 1 : row + 2, 14 if row % 4 == 0 else 0] = 1
    assert (prune(k, 0.1, 0.9) > 0).sum() == (k > 0).sum()


def test_prune_samples_do_not_touch_each_other():
    k = torch.rand(3, 1, 15, 15, generator=torch.Generator().manual_seed(0)) ** 6
    assert torch.equal(prune(k, 0.2, 0.1)[:1], prune(k[:1], 0.2, 0.1))
