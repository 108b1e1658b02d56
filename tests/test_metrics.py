"""The figures agree with brute force."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from blindinv.metrics import best_shift, levin_psnr, psnr, ssim


def smooth(batch: int, channels: int, h: int, w: int, seed: int = 0) -> torch.Tensor:
    x = torch.rand(batch, channels, h, w, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5))) * 2 - 0.5


def brute(x: torch.Tensor, truth: torch.Tensor, crop: int) -> float:
    h, w = x.shape[-2:]
    difference = (x.clamp(0, 1) - truth.clamp(0, 1))[..., crop : h - crop, crop : w - crop]
    return float(-10 * difference.double().square().mean().log10())


def test_psnr_clips_and_is_per_sample():
    truth = torch.zeros(2, 3, 8, 8)
    x = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 5.0)])
    assert torch.allclose(psnr(x, truth), torch.tensor([20.0, 0.0]), atol=1e-4)
    assert psnr(truth, truth).tolist() == pytest.approx([120.0, 120.0])


def test_ssim_equals_scikit_image():
    a, b = smooth(2, 3, 40, 48).clamp(0, 1), smooth(2, 3, 40, 48, 1).clamp(0, 1)
    mixed = 0.7 * a + 0.3 * b
    options = dict(channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
    expected = [structural_similarity(m.numpy(), t.numpy(), **options) for m, t in zip(mixed, a, strict=True)]
    assert np.allclose(ssim(mixed, a).numpy(), expected, atol=1e-4)
    assert ssim(mixed[:1], a[:1]).shape == (1,)


@pytest.mark.parametrize("crop", [0, 4])
def test_best_shift_is_the_best_of_all(crop: int):
    truth = smooth(2, 3, 24, 30)
    x = torch.stack([truth[0].roll((3, -2), (-2, -1)), truth[1].roll((-4, 1), (-2, -1))]) + 0.05 * smooth(2, 3, 24, 30, 5)
    aligned, shift = best_shift(x, truth, radius=4, crop=crop)
    for b in range(2):
        scores = {
            (i, j): brute(x[b : b + 1].roll((i, j), (-2, -1)), truth[b : b + 1], crop) for i in range(-4, 5) for j in range(-4, 5)
        }
        best = max(scores, key=lambda s: scores[s])
        assert tuple(shift[b].tolist()) == best
        assert torch.equal(aligned[b], x[b].roll(best, (-2, -1)))
    assert shift.tolist() == [[-3, 2], [4, -1]]


def test_levin_psnr_is_the_best_of_all_quarter_pixels():
    truth, radius, crop = smooth(1, 1, 40, 44), 3, 6
    x = torch.from_numpy(ndimage.shift(truth[0, 0].numpy(), (1.5, -0.75), order=3, mode="mirror"))[None, None].clamp(0, 1)
    x = x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    scores = []
    for i in np.arange(-radius, radius + 0.1, 0.25):
        for j in np.arange(-radius, radius + 0.1, 0.25):
            moved = ndimage.shift(x[0, 0].clamp(0, 1).double().numpy(), (i, j), order=3, mode="mirror")
            window = np.s_[crop:-crop, crop:-crop]
            scores.append(-10 * np.log10(np.mean((moved[window] - truth[0, 0].clamp(0, 1).double().numpy()[window]) ** 2)))
    value = levin_psnr(x, truth, radius, crop)
    assert value.item() == pytest.approx(max(scores), abs=0.02)
    assert value > psnr(best_shift(x, truth, radius, crop)[0], truth) + 1


def test_levin_psnr_is_batched_and_bounded_by_the_radius():
    truth = smooth(2, 3, 40, 40)
    x = torch.cat([truth[:1].roll(2, -1), truth[1:].roll(7, -1)])
    value = levin_psnr(x, truth, radius=3, crop=4)
    assert value.shape == (2,) and value[0] > 100 and value[1] < 40
    assert torch.allclose(value[1:], levin_psnr(x[1:], truth[1:], radius=3, crop=4))


def test_bad_input():
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="nothing is left"):
        best_shift(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), crop=4)
    with pytest.raises(ValueError, match="smaller than radius"):
        levin_psnr(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), radius=10, crop=8)
