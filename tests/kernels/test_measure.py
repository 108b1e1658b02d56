import pytest
import torch

from blindinv.kernels.measure import centre_of_mass, delta, kernel_mse, mnc, normalize, recentre, resize_support, roll_each
from blindinv.kernels.motion import motion_kernels


@pytest.fixture
def k():
    """Compact kernels with room to move, (4, 1, 31, 31)."""
    return resize_support(motion_kernels(4, 15, 0.8, torch.Generator().manual_seed(0)), 31)


def test_mnc_is_one_for_equals_and_blind_to_shifts(k):
    torch.testing.assert_close(mnc(k, k), torch.ones(4))
    torch.testing.assert_close(mnc(k.roll((5, -3), (-2, -1)), k), torch.ones(4))
    torch.testing.assert_close(mnc(k, k.roll((5, -3), (-2, -1))), torch.ones(4))
    torch.testing.assert_close(mnc(3 * k, k), torch.ones(4))
    torch.testing.assert_close(mnc(resize_support(k, 40), k), torch.ones(4))


def test_mnc_tells_kernels_apart_and_is_symmetric(k):
    other = k.roll(1, 0)
    assert (mnc(k, other) < 0.95).all()
    torch.testing.assert_close(mnc(k, other), mnc(other, k))


def test_mnc_by_direct_search(k):
    a, b = k[:1], k[1:2]
    best = max(
        (a * b.roll((i, j), (-2, -1))).sum().item() for i in range(-15, 16) for j in range(-15, 16)
    )  # nothing wraps round: both kernels live on the inner 15x15
    assert mnc(a, b).item() == pytest.approx(best / (a.norm() * b.norm()).item(), abs=1e-6)


def test_upsampled_mnc_sees_half_pixel_shifts():
    r = torch.arange(21.0) - 10
    a, b = (torch.exp(-0.5 * (((r - s)[:, None]) ** 2 + r**2) / 1.5**2)[None, None] for s in (0.0, 0.5))
    assert mnc(a, b).item() < 0.99
    assert mnc(a, b, upsample=2).item() == pytest.approx(1, abs=1e-4)


def test_recentre_says_what_it_did(k):
    moved = k.roll((4, -6), (-2, -1))
    centred, shift = recentre(moved)
    assert centre_of_mass(centred).abs().max() <= 0.5
    torch.testing.assert_close(roll_each(moved, shift), centred)
    assert (shift + torch.tensor([4, -6])).abs().max() <= 1


def test_roll_each_rolls_each():
    x, shift = torch.rand(3, 2, 5, 7), torch.tensor([[1, 0], [-2, 3], [9, -8]])
    for b in range(3):
        assert torch.equal(roll_each(x, shift)[b], x[b].roll(tuple(shift[b].tolist()), (-2, -1)))


def test_the_image_moves_against_the_kernel(k):
    from blindinv.operators.convolution import CircularConvolution

    A, x, moved = CircularConvolution(), torch.rand(4, 1, 40, 40), k.roll((4, -6), (-2, -1))
    centred, shift = recentre(moved)
    torch.testing.assert_close(A(roll_each(x, -shift), centred), A(x, moved), atol=1e-5, rtol=0)


def test_kernel_mse(k):
    torch.testing.assert_close(kernel_mse(k.roll((3, 2), (-2, -1)), k), torch.zeros(4), atol=1e-10, rtol=0)
    flat = torch.ones_like(k) / 31**2
    assert (kernel_mse(flat, k) > 1e-3).all()
    a, b = delta(9), torch.zeros(1, 1, 9, 9)
    b[..., 4, 3:5] = 0.5  # against a maximum of .5, one pixel is off by 1 and one by 1
    assert kernel_mse(a, b).item() == pytest.approx(2 / 81)


@pytest.mark.parametrize("n", [9, 10])
@pytest.mark.parametrize("m", [5, 6, 13, 14])
def test_resize_support_keeps_the_origin(n, m):
    assert torch.equal(resize_support(delta(n), m), delta(m))
    k = torch.zeros(1, 1, n, n)
    k[..., n // 2 - 1, n // 2 + 1] = 1
    assert centre_of_mass(resize_support(k, m)).tolist() == [[-1, 1]]


def test_normalize():
    k = torch.tensor([[[[1.0, -5.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]], [[[0.0] * 3] * 3]])
    out = normalize(k)
    assert out[0].tolist() == [[[0.25, 0, 0], [0, 0.75, 0], [0, 0, 0]]]
    assert torch.equal(out[1:], delta(3))
