import pytest
import torch

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import centre_of_mass, delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.methods.latentdem_paper import latentdem_paper
from blindinv.methods.vanilla_em import converge, vanilla_em
from blindinv.mstep.hqs import HQS
from blindinv.operators.convolution import CircularConvolution
from blindinv.priors.oracle import OraclePrior
from blindinv.problem import Deblurring, run
from blindinv.solve import always


def identity(k, sigma):
    return k


@pytest.fixture(scope="module")
def blurred(scenes):
    """Two scenes of 3x48x48 with a kernel each, sigma 0.01: (x, k, y)."""
    x, k = scenes(2, 3, 48), motion_kernels(2, 11, 1.0, torch.Generator().manual_seed(5))
    noise = 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return x, k, CircularConvolution()(x, k) + noise


def problem(y, **kwargs):
    return Deblurring.of(y, 0.01, 11, circular=True, **kwargs)


def test_one_progress_per_step_over_all_rounds(blurred, schedule, counting):
    x, _, y = blurred
    prior = counting(OraclePrior(x, schedule))
    prior.count.update(denoise=0, decode=0)
    steps = list(vanilla_em(problem(y), prior, identity, rounds=3, steps=5))
    assert [(p.step, p.total) for p in steps] == [(i, 15) for i in range(1, 16)]
    assert [p.t for p in steps] == schedule.timesteps(5) * 3
    assert prior.count["denoise"] == prior.count["decode"] == 15
    for i, p in enumerate(steps):
        assert p.full
        changed = i > 0 and not torch.equal(p.phi, steps[i - 1].phi)
        assert changed == (i in (4, 9, 14))  # the kernel moves at the end of a round only


def test_the_first_round_is_psld_with_a_delta(blurred, schedule):
    x, _, y = blurred
    prior = OraclePrior(x, schedule)
    expected = list(latentdem_paper(problem(y).with_kernel(delta(11, 2)), prior, identity, 6, always))
    got = list(vanilla_em(problem(y), prior, identity, rounds=2, steps=6))
    for a, b in zip(expected[:-1], got, strict=False):
        torch.testing.assert_close(a.x, b.x)


def test_with_a_known_kernel_it_is_one_e_step(blurred, schedule):
    x, k, y = blurred
    prior = OraclePrior(x, schedule)
    result = run(problem(y), vanilla_em(problem(y).with_kernel(k), prior, identity, rounds=4, steps=6))
    expected = run(problem(y), latentdem_paper(problem(y).with_kernel(k), prior, identity, 6, always))
    assert torch.equal(result.image, expected.image)
    assert torch.equal(result.kernel, k)


def test_it_finds_the_kernel_where_it_finds_the_scene(blurred, schedule):
    """Each sample's prior is a choice of two scenes; the E-step must take the right one for EM to work."""
    x, k, y = blurred
    result = run(problem(y, samples=3), vanilla_em(problem(y, samples=3), OraclePrior(x, schedule), identity, rounds=2, steps=50))
    right = (result.image - x.repeat_interleave(3, 0)).square().mean((1, 2, 3)).sqrt() < 0.03
    assert right.sum() >= 3
    assert (mnc(result.kernel, k.repeat_interleave(3, 0))[right] > 0.95).all()


def test_the_image_goes_with_the_kernel(blurred, schedule):
    """Observed with an off-centre kernel, kernel and image come back centred and still explain y."""
    x, _, _ = blurred
    A, k = CircularConvolution(), torch.zeros(2, 1, 11, 11)
    k[..., 2, 8], k[..., 3, 8] = 0.5, 0.5
    y = A(x, k)
    result = run(problem(y, seed=2), vanilla_em(problem(y, seed=2), OraclePrior(x, schedule), identity, rounds=1, steps=60))
    assert centre_of_mass(result.kernel).abs().max() <= 0.5
    right = (A(result.image, result.kernel) - y).square().mean((1, 2, 3)).sqrt() < 0.05
    assert right.any()
    torch.testing.assert_close(result.image[right], x.roll((-2, 3), (-2, -1))[right], atol=0.2, rtol=0)


def test_converge_stops_each_sample_when_it_stands(blurred):
    calls = []

    def halve(y, x, k, t, sigma):
        """A contraction towards a Gaussian: sample 0 starts nearby, sample 1 does not."""
        calls.append(k.clone())
        return 0.5 * k + 0.5 * gaussian_kernel(11, 1.5)

    k = torch.cat([0.98 * gaussian_kernel(11, 1.5) + 0.02 * delta(11), delta(11)])
    out = converge(halve, None, None, k, None, limit=50, tolerance=1e-3)
    torch.testing.assert_close(out[1:], gaussian_kernel(11, 1.5), atol=1e-3, rtol=0)
    assert 5 < len(calls) < 20
    for b in range(2):
        assert torch.equal(converge(halve, None, None, k[b : b + 1], None, limit=50, tolerance=1e-3), out[b : b + 1])
    calls.clear()
    converge(halve, None, None, k, None, limit=3)
    assert len(calls) == 3


def test_converge_on_the_true_image_is_the_true_kernel(blurred):
    x, k, y = blurred
    out = converge(HQS(CircularConvolution(), identity, iterations=1), y, x, delta(11, 2), torch.full((2, 1, 1, 1), 0.01), 50)
    assert (mnc(out, k) > 0.99).all()
