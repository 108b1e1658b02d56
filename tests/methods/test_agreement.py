"""The second opinion on a kernel."""

from dataclasses import replace

import pytest
import torch
from skimage import data
from torch import Tensor

from blindinv.baselines.pan_dcp import PanDCP, dark_channel_kernels
from blindinv.deblur import deblur
from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import centre_of_mass, interpolated, mnc, offset, shifted
from blindinv.kernels.motion import motion_kernels
from blindinv.methods.agreement import SecondOpinion
from blindinv.methods.default import Default
from blindinv.methods.latentdem import STARTS, Settings, count_kernel_steps, second_opinion
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.fourier import moved
from blindinv.problem import Deblurring

OPINION = SecondOpinion(share=0.5)


def smooth(seed: int) -> Tensor:
    """A movement, a little out of focus: shifts by fractions of a pixel are exact."""
    blur = CircularConvolution()
    return blur(motion_kernels(1, 31, 0.4, torch.Generator().manual_seed(seed)), gaussian_kernel(9, 1.2))


def photo(side: int) -> Tensor:
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.avg_pool2d(image[..., 64 : 64 + 2 * side, 128 : 128 + 2 * side], 2)


@pytest.mark.parametrize("by", [(0.0, 0.0), (1.0, -2.0), (0.5, 0.25), (-1.375, 2.125)])
def test_the_offset_is_found_to_a_fraction_of_a_pixel(by):
    k, by = smooth(3), torch.tensor([by])
    other = shifted(k, by)
    torch.testing.assert_close(offset(k, other, 8), by)
    torch.testing.assert_close(offset(other, k, 8), -by)


@pytest.mark.parametrize("by", [(0.0, 0.0), (1.0, -2.0), (0.5, 0.25)])
def test_interpolation_moves_and_stays_a_kernel(by):
    k, by = torch.cat([smooth(3), smooth(4)]), torch.tensor([by, (0.0, 0.0)])
    made = interpolated(k, by)
    assert made.min() >= 0
    torch.testing.assert_close(made.sum((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(centre_of_mass(made) - centre_of_mass(k), by, atol=0.06, rtol=0)
    torch.testing.assert_close(made[1], k[1], atol=1e-6, rtol=0)
    assert (made - shifted(k, by)).abs().max() < 0.05 * k.max()


def test_agreement_does_not_see_shifts_and_sees_shapes():
    k = torch.cat([smooth(3), smooth(3), smooth(3)])
    other = torch.cat([smooth(3), shifted(smooth(3), torch.tensor([[2.5, -1.25]])), smooth(5)])
    assert OPINION.agrees(k, other).flatten().tolist() == [True, True, False]


def test_kernel_and_image_of_the_mean_go_together():
    x, by = photo(64), torch.tensor([[1.5, -0.75]])
    k = smooth(3)
    mean, image = OPINION.mean(k, x, shifted(k, by))
    assert float(mnc(mean, k, 8)) > 0.999
    A = CircularConvolution()
    torch.testing.assert_close(A(image, mean), A(x, k), atol=0.01, rtol=0)
    assert (A(x, mean) - A(x, k)).abs().max() > 0.1  # it would not fit without the move
    assert (moved(image, by) - x).abs().mean() < 0.02 * x.std()


def test_the_mean_is_nearer_than_either_of_two_that_err_differently():
    truth, wrong = smooth(3), (smooth(5), smooth(7))
    a, b = (0.7 * truth + 0.3 * k for k in wrong)
    mean, _ = OPINION.mean(a, photo(32), b)
    assert float(mnc(mean, truth, 8)) > max(float(mnc(k, truth, 8)) for k in (a, b))


def test_the_second_opinion_is_that_of_the_dark_channel():
    y = CircularConvolution()(photo(96), smooth(3))
    settings = PanDCP(iterations=2, last=1)
    *_, k = dark_channel_kernels(y, 31, True, settings)
    torch.testing.assert_close(SecondOpinion(settings).kernel(Deblurring.of(y, 0.01, 31, True)), k, atol=0, rtol=0)


def test_it_counts_only_where_both_agree():
    y = CircularConvolution()(photo(96), smooth(3))
    y = y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    made = {}
    for least in (0.0, 0.999):
        second = SecondOpinion(PanDCP(iterations=2, last=1), least=least, share=1.0)
        method = Default(Settings(starts=STARTS[:1], em=(1,), steps=2, second=second))
        made[least] = deblur(y, method=method, kernel_size=31, sigma=0.005, circular=True).kernel
    opinion = SecondOpinion(PanDCP(iterations=2, last=1)).kernel(Deblurring.of(y, 0.01, 31, True))
    alone = deblur(
        y, method=Default(Settings(starts=STARTS[:1], em=(1,), steps=2, second=None)), kernel_size=31, sigma=0.005, circular=True
    )
    torch.testing.assert_close(made[0.0], opinion, atol=1e-5, rtol=0)
    torch.testing.assert_close(made[0.999], alone.kernel)
    assert float(mnc(opinion, alone.kernel)) < 0.999


def test_it_is_not_asked_about_a_noisy_photo():
    y = CircularConvolution()(photo(48), smooth(3)).expand(2, -1, -1, -1)
    quiet, noisy = (Deblurring.of(y, s, 31, True) for s in (0.01, 0.02))
    mixed = Deblurring.of(y, torch.tensor([0.02, 0.01]), 31, True)
    settings = Settings(starts=STARTS[:1], em=(1,))
    assert OPINION.asked(mixed).flatten().tolist() == [False, True]
    assert second_opinion(quiet, settings) and second_opinion(mixed, settings) and second_opinion(noisy, settings) is None
    assert second_opinion(quiet, replace(settings, starts=())) is None
    assert count_kernel_steps(noisy, settings) == 3 and count_kernel_steps(mixed, settings) == 4
