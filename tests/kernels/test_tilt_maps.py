import pytest
import torch

from blindinv.kernels.tilt import AMPLITUDE, DENSITY, PATCH, WINDOW, _smooth, _variance, tilt_maps, tilt_power


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def patches_one_by_one(size, g):
    """The simulator by its description: every patch drawn by itself, at full area."""
    h, w = (n + WINDOW - 1 for n in size)
    canvas = torch.zeros(2, h + 2 * PATCH, w + 2 * PATCH)
    for _ in range(round(DENSITY * (h + PATCH - 1) * (w + PATCH - 1))):
        a = AMPLITUDE[0] + (AMPLITUDE[1] - AMPLITUDE[0]) * torch.rand(1, generator=g)
        top, left = (int(torch.randint(1, n + PATCH, (1,), generator=g)) for n in (h, w))
        canvas[:, top : top + PATCH, left : left + PATCH] += a * torch.randn(2, PATCH, PATCH, generator=g)
    return _smooth(canvas[None, :, PATCH : PATCH + h, PATCH : PATCH + w])[0]


def autocorrelation(x, shift):
    return float((x * x.roll(shift, -1))[..., 8:-8].mean() / x.square().mean())


def test_has_the_law_of_patches_added_one_by_one():
    size = (48, 72)
    ours = tilt_maps(400, size, rng())
    theirs = torch.stack([patches_one_by_one(size, rng(i)) for i in range(100)])
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.03)
    assert float(ours.std()) == pytest.approx(0.41, abs=0.02)
    for shift in (1, 2, 4):
        assert autocorrelation(ours, shift) == pytest.approx(autocorrelation(theirs, shift), abs=0.02)
    kurtosis = [float(x.pow(4).mean() / x.square().mean().square()) for x in (ours, theirs)]
    assert kurtosis[0] == pytest.approx(kurtosis[1], abs=0.15)


def test_the_law_is_the_same_everywhere_and_the_components_are_independent():
    maps = tilt_maps(600, (40, 56), rng(1))
    edge, middle = maps[..., :2, :2].std(), maps[..., 20:28, 20:28].std()
    assert float(edge) == pytest.approx(float(middle), rel=0.08)
    assert abs(float((maps[:, 0] * maps[:, 1]).mean())) < 0.01 * float(maps.square().mean()) + 1e-3


def test_variance_counts_the_patches_over_a_pixel():
    power = _variance(64, (100, 90), rng(2), torch.device("cpu"))
    expected = DENSITY * PATCH**2 * (0.4**3 - 0.1**3) / (3 * 0.3)  # patches over a pixel times E[a^2]
    assert float(power.mean()) == pytest.approx(expected, rel=0.05)
    assert bool((power >= 0).all())


def test_strength_scales_and_clips():
    one, three = tilt_maps(2, (30, 50), rng(3)), tilt_maps(2, (30, 50), rng(3), strength=3.0)
    assert torch.allclose(three, 3 * one)
    assert not tilt_maps(1, (30, 50), rng(3), strength=0.0).any()
    assert one.shape == (2, 2, 30, 50)
    for strength in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="strength"):
            tilt_maps(1, (30, 50), rng(), strength)


def test_power_is_that_of_the_maps():
    size = (48, 64)
    maps = tilt_maps(500, size, rng(4), strength=2.0)
    power = tilt_power(size, strength=2.0)
    window = torch.hann_window(48)[:, None] * torch.hann_window(64)  # the maps are not periodic
    x = torch.fft.rfft2(maps * window).abs().square().mean((0, 1)) / window.square().sum()
    for rows, cols in ((slice(1, 4), slice(1, 4)), (slice(8, 12), slice(4, 8)), (slice(12, 16), slice(12, 20))):
        assert float(x[rows, cols].mean()) == pytest.approx(float(power[rows, cols].mean()), rel=0.1)
    whole = torch.fft.fft2(torch.fft.irfft2(power, size)).real
    assert float(whole.mean()) == pytest.approx(float(maps.square().mean()), rel=0.05)
