import pytest
import torch

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import centre_of_mass
from blindinv.kernels.motion import motion_kernels, rasterize, trajectory


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moments(k):
    """(B, 2) second principal moments of the kernels, smaller first, in squared pixels."""
    n = k.shape[-1]
    r = torch.arange(n, dtype=torch.float64) - n // 2
    k, c = k.double()[:, 0], centre_of_mass(k.double())
    rows, cols = r - c[:, :1], r - c[:, 1:]
    yy = (k.sum(-1) * rows.square()).sum(-1)
    xx = (k.sum(-2) * cols.square()).sum(-1)
    xy = torch.einsum("bij,bi,bj->b", k, rows, cols)
    return torch.linalg.eigvalsh(torch.stack([torch.stack([yy, xy], -1), torch.stack([xy, xx], -1)], -2))


@pytest.mark.parametrize("size", [9, 10, 31, 64, 128, 129])
@pytest.mark.parametrize("intensity", [0.0, 0.5, 1.0])
def test_every_kernel_is_a_kernel(size, intensity):
    k = motion_kernels(16, size, intensity, generator())
    assert k.shape == (16, 1, size, size)
    assert k.dtype == torch.float32
    assert (k >= 0).all()
    torch.testing.assert_close(k.sum((1, 2, 3)), torch.ones(16))
    assert centre_of_mass(k).abs().max() < 0.02


def test_without_intensity_the_path_is_a_straight_line():
    path = trajectory(32, torch.full((32,), 20.0), torch.zeros(32), generator())
    values = torch.linalg.svdvals(path - path.mean(1, keepdim=True))
    assert (values[:, 1] / values[:, 0]).max() < 1e-3
    # Bilinear drawing spreads a line by at most a quarter of a pixel, squared, per axis.
    assert moments(motion_kernels(32, 33, 0.0, generator()))[:, 0].max() < 0.3
    assert moments(motion_kernels(32, 33, 1.0, generator()))[:, 0].median() > 0.5


def test_length_and_shake_grow_with_intensity():
    lengths = []
    for intensity in (0.0, 0.3, 0.6, 1.0):
        k = motion_kernels(400, 65, intensity, generator())
        lengths.append((k > 0).float().sum((1, 2, 3)).mean().item())
    assert lengths == sorted(lengths)
    assert lengths[-1] > 1.3 * lengths[0]


def test_the_path_has_the_length_it_was_given():
    length = torch.tensor([3.0, 10.0, 30.0])
    path = trajectory(3, length, torch.ones(3), generator())
    torch.testing.assert_close(path.diff(dim=1).norm(dim=-1).sum(1), length, rtol=0.01, atol=0)


def test_a_path_too_wide_is_shrunk_to_fit():
    path = torch.stack([torch.linspace(-100, 100, 50), torch.zeros(50)], -1)[None]
    for size in (9, 10):
        k = rasterize(path, size)
        assert k.sum() == pytest.approx(1)
        assert centre_of_mass(k).abs().max() < 1e-3


def test_same_seed_same_kernels():
    assert torch.equal(motion_kernels(3, 31, 0.5, generator(4)), motion_kernels(3, 31, 0.5, generator(4)))
    assert not torch.equal(motion_kernels(3, 31, 0.5, generator(4)), motion_kernels(3, 31, 0.5, generator(5)))


def test_intensity_may_differ_in_a_batch():
    k = motion_kernels(2, 33, torch.tensor([0.0, 1.0]), generator(2))
    assert moments(k)[0, 0] < 0.3


@pytest.mark.parametrize(("size", "intensity"), [(8, 0.5), (130, 0.5), (31, -0.1), (31, 1.1)])
def test_out_of_range(size, intensity):
    with pytest.raises(ValueError, match=r"outside 9\.\.129|in \[0, 1\]"):
        motion_kernels(1, size, intensity)


@pytest.mark.parametrize("size", [31, 32])
def test_gaussian_kernel_has_its_moments(size):
    k = gaussian_kernel(size, (2.0, 3.0))
    assert k.sum() == pytest.approx(1)
    assert centre_of_mass(k).abs().max() < 1e-3
    torch.testing.assert_close(moments(k)[0], torch.tensor([4.0, 9.0], dtype=torch.float64), rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match="positive"):
        gaussian_kernel(size, 0.0)
