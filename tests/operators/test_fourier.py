import pytest
import torch

from blindinv.operators.fourier import Spectrum, fft, good_size, gradient_otf, ifft, moved, otf, psf, radius


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "n"), [((12, 17), 3), ((12, 17), 4), ((8, 8), 8), ((9, 9), 9)])
def test_psf_is_the_left_inverse_of_otf(size, n):
    k = rand(2, 1, n, n)
    torch.testing.assert_close(psf(otf(k, size), size, n), k)


def test_otf_of_the_centred_delta_is_one():
    for n in (4, 5):
        k = torch.zeros(1, 1, n, n)
        k[..., n // 2, n // 2] = 1
        torch.testing.assert_close(otf(k, (8, 9)), torch.ones(1, 1, 8, 5, dtype=torch.complex64))


def test_otf_refuses_a_kernel_larger_than_the_image():
    with pytest.raises(ValueError, match="does not fit"):
        otf(torch.ones(1, 1, 9, 9), (8, 16))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 11)])
def test_fft_is_orthonormal_and_inverted(size):
    x = rand(2, 3, *size)
    torch.testing.assert_close(ifft(fft(x), size), x)
    full = torch.fft.fft2(x, norm="ortho")
    torch.testing.assert_close(full.abs().square().sum(), x.square().sum())
    torch.testing.assert_close(fft(x), full[..., : size[1] // 2 + 1])


def test_gradient_otf_is_the_forward_difference():
    x = rand(1, 1, 6, 9)
    dx, dy = gradient_otf((6, 9))
    torch.testing.assert_close(ifft(dx * fft(x), (6, 9)), x.roll(-1, -1) - x, atol=1e-6, rtol=0)
    torch.testing.assert_close(ifft(dy * fft(x), (6, 9)), x.roll(-1, -2) - x, atol=1e-6, rtol=0)


def test_good_size():
    for n in range(1, 600, 7):
        m = good_size(n)
        rest = m // 16
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        assert m >= n
        assert m % 16 == 0
        assert rest == 1
    assert [good_size(n) for n in (16, 17, 287, 337)] == [16, 32, 288, 384]


def test_radius_reaches_the_corner():
    r = radius((8, 8))
    assert r[0, 0] == 0
    assert r.max() == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("n", [31, 32])
def test_rings_weigh_the_half_plane_as_the_whole(n):
    x = torch.randn(1, 1, n, n, generator=torch.Generator().manual_seed(0))
    power = fft(x).abs().square()[0, 0]
    full = torch.fft.fft2(x, norm="ortho").abs().square()[0, 0]
    f = torch.fft.fftfreq(n)
    index = ((f[:, None].square() + f.square()).sqrt() / 0.5**0.5 * 8).long().clamp(max=7)
    expected = torch.stack([full[index == i].mean() for i in range(8)])
    got = Spectrum.rings(power, (n, n), 8)
    torch.testing.assert_close(got, expected)


def test_rings_leave_no_gap():
    assert (Spectrum.rings(torch.ones(8, 5), (8, 8), 64) == 1).all()


def test_spectrum_interpolates_in_the_logarithm():
    s = Spectrum([100, 200], torch.stack([torch.full((16,), 1e-4), torch.full((16,), 1e-2)]))
    for t, value in ((0, 1e-4), (100, 1e-4), (150, 1e-3), (200, 1e-2), (900, 1e-2)):
        torch.testing.assert_close(s(t, (12, 14)), torch.full((12, 8), value))
    ring = torch.linspace(1, 5, 8).exp()
    s = Spectrum([0], ring[None])
    flat = s(0, (64, 64)).flatten()
    order = radius((64, 64)).flatten().argsort()
    assert (flat[order].diff() >= -1e-3).all()
    assert flat.min() == pytest.approx(ring[0].item(), rel=1e-4)
    assert flat.max() == pytest.approx(ring[-1].item(), rel=1e-4)


def test_moving_by_whole_pixels_is_rolling_and_two_halves_are_a_whole():
    x = torch.rand(2, 3, 12, 15, generator=torch.Generator().manual_seed(0))
    by = torch.tensor([[2.0, -3.0], [0.0, 5.0]])
    rolled = torch.cat([x[:1].roll((2, -3), (-2, -1)), x[1:].roll((0, 5), (-2, -1))])
    assert torch.allclose(moved(x, by), rolled, atol=1e-5)
    smooth = ifft(fft(x) * (radius((12, 15)) < 0.4), (12, 15))  # half a pixel at Nyquist cannot be undone
    assert torch.allclose(moved(moved(smooth, by / 2), by / 2), moved(smooth, by), atol=1e-5)
