"""The kernels that the operator prior is trained on."""

import torch

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import centre_of_mass
from blindinv.kernels.mixture import gaussian_kernels, kernel_bank, mixed_kernels, symmetries


def test_gaussians_are_those_of_gaussian_kernel():
    k = gaussian_kernels(17, torch.tensor([0.7, 2.0]))
    torch.testing.assert_close(k, torch.cat([gaussian_kernel(17, 0.7), gaussian_kernel(17, 2.0)]))


def test_mixed_kernels_are_kernels_and_one_in_six_is_gaussian():
    k = mixed_kernels(1200, 32, torch.Generator().manual_seed(0))
    assert k.shape == (1200, 1, 32, 32)
    assert k.min() >= 0
    torch.testing.assert_close(k.sum((1, 2, 3)), torch.ones(1200))
    assert centre_of_mass(k).abs().max() < 0.6
    mirrored = symmetries(k, torch.full((1200,), 2))
    gaussian = (k - mirrored).abs().amax((1, 2, 3)) < 1e-6  # camera shake is not its own mirror image
    assert 0.12 < gaussian.float().mean() < 0.22


def test_the_bank_is_seeded_and_keeps_kernels_to_half_a_grey_level():
    bank = kernel_bank(7, 17, seed=3)
    assert torch.equal(bank, kernel_bank(7, 17, seed=3))
    assert not torch.equal(bank, kernel_bank(7, 17, seed=4))
    k = mixed_kernels(7, 17, torch.Generator().manual_seed(3))
    assert (bank / 255 - k / k.amax((-2, -1), keepdim=True)).abs().max() <= 0.5 / 255 + 1e-6


def test_symmetries_keep_the_origin_and_move_the_centre_of_mass_as_they_say():
    for n in (8, 9):
        k = torch.zeros(1, 1, n, n)
        k[0, 0, n // 2 + 2, n // 2 + 1] = 1
        for which in range(8):
            y, x = (1, 2) if which & 1 else (2, 1)
            want = torch.tensor([[-y if which & 2 else y, -x if which & 4 else x]])
            assert torch.equal(centre_of_mass(symmetries(k, torch.tensor([which]))).long(), want)
