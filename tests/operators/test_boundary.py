import pytest
import torch

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.operators.boundary import conditional_fill, crop, embed, harmonic_fill, is_circular
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.fourier import fft, ifft, radius


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("frame", "canvas"), [((5, 6), (8, 8)), ((4, 7), (9, 10)), ((8, 8), (8, 8))])
def test_crop_undoes_embed(frame, canvas):
    y = rand(2, 3, *frame)
    x, mask = embed(y, canvas)
    assert x.shape == (2, 3, *canvas)
    assert mask.sum() == frame[0] * frame[1]
    torch.testing.assert_close(crop(x, frame), y)
    torch.testing.assert_close(x * mask, x)


def test_fill_is_the_gaussian_conditional_mean(dense):
    size = (8, 9)
    power = 0.05 + rand(2, 1, 8, 5, seed=1)
    power[..., 0] = (power[..., 0] + power[..., 0].flip(-1).roll(1, -1)) / 2
    r, mask = embed(rand(2, 3, 5, 6), size)
    filled = conditional_fill(r + 7 * (1 - mask), mask, power, iterations=80)
    inside = mask.flatten() > 0
    for b in range(2):
        C = dense(lambda x, b=b: ifft(power[b : b + 1] * fft(x), size), (1, *size))
        for c in range(3):
            known = r[b, c].flatten()[inside]
            expected = C[~inside][:, inside] @ torch.linalg.solve(C[inside][:, inside], known)
            torch.testing.assert_close(filled[b, c].flatten()[~inside], expected, atol=1e-8, rtol=0)
            torch.testing.assert_close(filled[b, c].flatten()[inside], known)


def test_fill_stops_early_for_each_sample_alone():
    power = (4 * radius((24, 24)).double().square() + torch.tensor([1e-1, 1e-4]).view(2, 1, 1, 1)).reciprocal()  # easy, hard
    r, mask = embed(rand(2, 1, 16, 16), (24, 24))
    exact, rough = conditional_fill(r, mask, power, 400), conditional_fill(r, mask, power, 400, tolerance=1e-2)
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05
    for b in range(2):
        alone = conditional_fill(r[b : b + 1], mask, power[b : b + 1], 400, tolerance=1e-2)
        torch.testing.assert_close(rough[b : b + 1], alone, atol=1e-9, rtol=0)


def test_fill_keeps_the_type_of_its_input():
    r, mask = embed(torch.rand(1, 1, 5, 5), (8, 8))
    assert conditional_fill(r, mask, torch.ones(1, 1, 8, 5)).dtype == torch.float32


def test_harmonic_fill_minimises_the_gradients():
    y, mask = embed(rand(1, 2, 9, 11), (16, 16))
    x = harmonic_fill(y, mask, 300)
    torch.testing.assert_close(x * mask, y)

    def roughness(v):
        return sum((v.roll(-1, d) - v).square().sum() for d in (-1, -2))

    for seed in range(5):
        other = x + 0.1 * (rand(1, 2, 16, 16, seed=seed) - 0.5) * (1 - mask)
        assert roughness(other) > roughness(x)
    flat, mask = embed(torch.full((1, 1, 5, 5), 0.7), (8, 8))
    torch.testing.assert_close(harmonic_fill(flat, mask), torch.full((1, 1, 8, 8), 0.7))


def test_is_circular(astronaut):
    noise = 0.01 * torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(0))
    blurred = CircularConvolution()(astronaut, gaussian_kernel(25, 4.0))
    assert is_circular(blurred + noise)
    assert is_circular(blurred)
    assert not is_circular(astronaut)
    assert not is_circular(crop(blurred, (192, 192)) + crop(noise, (192, 192)))


def test_is_circular_needs_both_axes(astronaut):
    blurred = CircularConvolution()(astronaut, gaussian_kernel(25, 4.0))
    assert not is_circular(blurred[..., 30:230, :])
    assert not is_circular(blurred[..., :, 30:230])
