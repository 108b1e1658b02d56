"""The network that ends EM: what it sees, and what it cannot spoil."""

import pytest
import torch

from blindinv.kernels.measure import centre_of_main_part, mnc, normalize
from blindinv.kernels.motion import motion_kernels
from blindinv.priors.kernel import HOLDS, KernelRefiner, features, mean_kernel


def parts(n=24, batch=2):
    start, found = motion_kernels(2 * batch, n, 0.5, torch.Generator().manual_seed(0)).split(batch)
    squares = found + 1e-3 * torch.randn(batch, len(HOLDS), n, n, generator=torch.Generator().manual_seed(1))
    return start, found, squares


def trained(channels=4):
    torch.manual_seed(0)
    model = KernelRefiner(channels)
    torch.nn.init.normal_(model.leave.weight, std=3.0)
    return model.eval()


@pytest.mark.parametrize("n", [24, 31])
def test_untrained_it_is_the_mean_of_start_and_em(n):
    start, found, squares = parts(n)
    made = KernelRefiner(4).averaged(features(start, found, squares))
    torch.testing.assert_close(made, normalize(mean_kernel(start, found)))


def test_features_do_not_depend_on_the_scale_of_kernels():
    start, found, squares = parts()
    v, w = features(start, found, squares), features(2 * start, 2 * found, 2 * squares)
    torch.testing.assert_close(v[:, :-1], w[:, :-1])
    torch.testing.assert_close(2 * v[:, -1:], w[:, -1:])
    torch.testing.assert_close(v[:, 1].flatten(1).norm(dim=1), torch.full((2,), 8.0))


@pytest.mark.parametrize("change", [lambda v: v.mT, lambda v: v.flip(-1), lambda v: torch.rot90(v, 1, (-2, -1))])
def test_a_turned_or_mirrored_problem_has_the_turned_or_mirrored_answer(change):
    model, v = trained(), features(*parts())
    torch.testing.assert_close(change(model.averaged(v)), model.averaged(change(v).contiguous()), atol=1e-6, rtol=1e-4)
    assert float(mnc(model.averaged(v), mean_kernel(v[:, :1], v[:, 1:2])).max()) < 0.999, "the network does something"


def test_samples_do_not_depend_on_their_batch_and_are_kernels():
    model, v = trained(), features(*parts())
    both = model.averaged(v)
    torch.testing.assert_close(both[1:], model.averaged(v[1:]), atol=1e-6, rtol=1e-4)
    assert both.min() >= 0 and torch.allclose(both.sum((-3, -2, -1)), torch.ones(2))
    assert centre_of_main_part(both).shape == (2, 2)
