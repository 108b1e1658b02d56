import numpy as np
import pytest
import torch
from skimage.data import astronaut

from blindinv.photo.light import to_linear, to_srgb
from blindinv.photo.noise import FLOOR, estimate_sigma
from blindinv.photo.pictures import comparison, kernel_picture, spread
from blindinv.photo.tiles import blend, tiles


def smooth_picture(size=256):
    x = torch.from_numpy(astronaut()[:size, 100 : 100 + size] / 255.0).float().permute(2, 0, 1)[None]
    blur = torch.nn.functional.avg_pool2d
    for _ in range(3):
        x = blur(torch.nn.functional.pad(x, (3,) * 4, mode="reflect"), 7, 1)
    return x


@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.03, 0.05])
@pytest.mark.parametrize("size", [(256, 256), (129, 200), (64, 64)])
def test_noise_level_of_smooth_pictures(sigma, size):
    x = smooth_picture()[..., : size[0], : size[1]] * 0.6 + 0.2
    y = x + sigma * torch.randn(8, *x.shape[1:], generator=torch.Generator().manual_seed(0))
    ratio = float(estimate_sigma(y, floor=0.0).mean()) / sigma
    assert 0.9 < ratio < 1.15


def test_noise_level_has_a_floor_and_is_per_sample():
    x = smooth_picture(128) * 0.6 + 0.2
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y = torch.cat([x, x + 0.04 * noise])
    sigma = estimate_sigma(y)
    assert sigma.shape == (2, 1, 1, 1) and sigma[0].item() == pytest.approx(FLOOR)
    assert torch.allclose(sigma[1:], estimate_sigma(y[1:]))
    assert float(estimate_sigma(torch.full((1, 3, 16, 16), 0.5))) == pytest.approx(FLOOR)
    with pytest.raises(ValueError, match="8 pixels"):
        estimate_sigma(y[..., :5])


@pytest.mark.parametrize("size", [(50, 70), (64, 64), (65, 129), (200, 33), (97, 161)])
@pytest.mark.parametrize(("side", "overlap"), [(64, 16), (64, 32), (48, 40), (32, 0), (400, 8)])
def test_tiles_cover_and_blend_gives_the_image_back(size, side, overlap):
    x = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = tiles(*size, side, overlap)
    again = blend(boxes, (b.cut(x) for b in boxes), overlap)
    assert again.shape == x.shape and torch.allclose(again, x, atol=1e-12, rtol=0)
    ones = blend(boxes, (torch.ones(1, 1, b.height, b.width, dtype=torch.float64) for b in boxes), overlap)
    assert torch.allclose(ones, torch.ones_like(ones), atol=1e-12, rtol=0)


def test_blend_changes_over_smoothly_and_only_in_the_overlap():
    boxes = tiles(10, 100, 60, 20)
    assert [b.left for b in boxes] == [0, 40]
    across = blend(boxes, (torch.full((1, 1, b.height, b.width), float(i)) for i, b in enumerate(boxes)), 20)[0, 0, 5]
    assert (across[:40] == 0).all() and (across[60:] == 1).all()
    assert (across.diff() >= 0).all() and across.diff().max() < 0.1


def test_number_of_tiles_is_the_least():
    assert len(tiles(1024, 1024, 384, 64)) == 9 and len(tiles(300, 300, 384, 64)) == 1
    with pytest.raises(ValueError, match="overlap"):
        tiles(10, 10, 8, 8)


def test_srgb_curve():
    x = torch.linspace(0, 1, 4097)
    assert torch.allclose(to_srgb(to_linear(x)), x, atol=2e-6)
    known = torch.tensor([0.0, 0.04045, 0.5, 1.0])
    assert torch.allclose(to_linear(known), torch.tensor([0.0, 0.0031308, 0.2140411, 1.0]), atol=1e-7)
    assert (to_linear(x).diff() > 0).all()


def test_pictures_have_the_sizes_they_should():
    kernel = torch.zeros(1, 1, 32, 32)
    kernel[..., 3, 5] = 0.25
    enlarged = np.asarray(kernel_picture(kernel))
    assert enlarged.shape == (256, 256) and enlarged[24:32, 40:48].min() == 255 and enlarged.sum() == 255 * 64
    x = torch.rand(1, 3, 60, 90)
    sheet = comparison(x, x, kernel)
    assert sheet.height == 64 + 16 + 24 and sheet.width == 90 + 90 + 64 + 48
    assert comparison(torch.rand(1, 3, 20, 3300), torch.rand(1, 3, 20, 3300), kernel).width < 3 * 1600


def test_spread_of_samples():
    x = torch.zeros(2, 3, 4, 4)
    x[1, :, 1, 1] = 0.5
    deviation, white = spread(x)
    assert white == pytest.approx(0.25) and deviation[0, 0, 1, 1] == 1 and deviation.sum() == 1
    assert spread(x[:1])[1] == 0
