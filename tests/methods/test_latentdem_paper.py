"""The paper's algorithm: its schedules, its equality with PSLD, and EM under an exact prior."""

import itertools

import pytest
import torch

from blindinv.guidance.moves import Proximal
from blindinv.kernels.measure import delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.methods.latentdem_paper import Anneal, Skip, cosine, exponential, latentdem_paper, linear
from blindinv.mstep.hqs import HQS
from blindinv.operators.convolution import CircularConvolution
from blindinv.problem import Deblurring, run
from blindinv.protocols import generators
from blindinv.solve import Diffused, always, solve
from blindinv.step import Renoise
from blindinv.unknown import Estimated


def identity(k, sigma):
    return k


@pytest.mark.parametrize(("t", "zeta"), [(1000, 10), (900, 7.75), (800, 5.5), (700, 3.25), (600, 1), (599, 1), (0, 1)])
def test_annealing_values_of_the_paper(t, zeta):
    assert 1 / Anneal(linear)(t) == pytest.approx(zeta)


@pytest.mark.parametrize("shape", [linear, cosine, exponential])
def test_every_annealing_falls_from_ten_to_one(shape):
    zeta = [1 / Anneal(shape)(t) for t in range(1000, -1, -10)]
    assert zeta[0] == pytest.approx(10)
    assert zeta[40:] == pytest.approx([1] * 61)
    assert all(a > b for a, b in itertools.pairwise(zeta[:41]))


def test_exponential_falls_by_a_constant_factor():
    zeta = [1 / Anneal(exponential)(t) for t in range(1000, 599, -50)]
    ratios = [a / b for a, b in itertools.pairwise(zeta)]
    assert ratios == pytest.approx([10 ** (1 / 8)] * 8)


@pytest.mark.parametrize(("every", "above", "skipped"), [(8, 500, 437), (8, 0, 875), (16, 0, 937), (1, 1000, 0), (1, 0, 0)])
def test_skip_counts_of_the_paper(schedule, every, above, skipped):
    """Table 2: M = 437, 875, 937 and 0 of 1000 steps."""
    skip = Skip(every, above)
    assert sum(not skip(i, t) for i, t in enumerate(schedule.timesteps(1000))) == skipped


def plain_psld(y, k, prior, steps, gamma, omega, seed, sigma=0.01):
    """PSLD with DDPM steps, written out: norms of the residual on [-1, 1] and of the gluing term, linear annealing.

    A step is 1000 / steps long, and at most what brings the linearised loss to the norm of the noise.
    """
    size, n = y.shape[-2:], k.shape[-1]
    padded = torch.zeros(len(k), 1, *size)
    padded[..., :n, :n] = k
    K = torch.fft.fft2(padded.roll((-(n // 2), -(n // 2)), (-2, -1)))

    def forward(x):
        return torch.fft.ifft2(K * torch.fft.fft2(x)).real

    def adjoint(x):
        return torch.fft.ifft2(K.conj() * torch.fft.fft2(x)).real

    rng = [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in range(len(y))]
    shape = (prior.channels, size[0] // 4, size[1] // 4)
    z = torch.stack([torch.randn(shape, generator=g) for g in rng])
    ts = [round(999 * i / (steps - 1)) for i in range(steps)][::-1]
    for t, s in zip(ts, [*ts[1:], -1], strict=True):
        a, b = prior.schedule.abar[t].item(), prior.schedule.abar[s].item() if s >= 0 else 1.0
        z = z.detach().requires_grad_(True)
        z0 = prior.denoise(z, t)
        x0 = prior.decode(z0)
        fit = (2 * (y - forward(x0))).flatten(1).norm(dim=1)
        glue = (z0 - prior.encode(adjoint(y) + x0 - adjoint(forward(x0)))).flatten(1).norm(dim=1)
        loss = omega * fit + gamma * glue
        grad = torch.autograd.grad(loss.sum(), z)[0]
        excess = (loss - omega * 2 * sigma * y[0].numel() ** 0.5).clamp(min=0)
        length = (excess / grad.flatten(1).square().sum(1)).clamp(max=1000 / steps).detach().view(-1, 1, 1, 1)
        noise = torch.stack([torch.randn(shape, generator=g) for g in rng])
        alpha = a / b
        mean = (alpha**0.5 * (1 - b) * z + b**0.5 * (1 - alpha) * z0) / (1 - a)
        z = mean + ((1 - b) * (1 - alpha) / (1 - a)) ** 0.5 * (noise if s >= 0 else 0)
        zeta = max(1.0, 1 + 9 * (t - 600) / 400)
        z = z - length * grad / zeta
    return x0.detach()


def test_with_a_known_kernel_it_is_psld(latent_prior, scenes):
    x, k = scenes(2, 3, 32, seed=9), motion_kernels(2, 11, 1.0, torch.Generator().manual_seed(5))
    y = CircularConvolution()(x, k)
    problem = Deblurring.of(y, 0.01, 11, circular=True, seed=3).with_kernel(k)
    settings = dict(steps=20, gamma=0.2, omega=0.7)
    result = run(problem, latentdem_paper(problem, latent_prior, identity, skip=always, **settings))
    expected = plain_psld(y, k, latent_prior, seed=3, **settings)
    torch.testing.assert_close(result.image, expected.clamp(0, 1), atol=2e-4, rtol=0)
    assert torch.equal(result.kernel, k)
    without_glue = plain_psld(y, k, latent_prior, 20, 0.0, 0.7, 3)
    assert (without_glue.clamp(0, 1) - result.image).abs().max() > 0.01  # the comparison would notice


@pytest.fixture(scope="module")
def blind(scenes):
    """Eight scenes with a kernel each, sigma 0.01: (x, k, y)."""
    x, k = scenes(24, 3, 48)[:8], motion_kernels(8, 11, 1.0, torch.Generator().manual_seed(4))
    noise = 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return x, k, CircularConvolution()(x, k) + noise


@pytest.mark.parametrize("seed", [0, 1])
def test_em_finds_the_kernel_under_the_exact_prior(blind, oracle, seed):
    """24 candidate scenes, a kernel that is unknown: closed-form E-step, HQS M-step, from a delta."""
    x, k, y = blind
    A, problem = CircularConvolution(), Deblurring.of(y, 0.01, 11, circular=True)
    phi = Estimated(delta(11, 8), HQS(A, identity, iterations=5))
    chain = Diffused(oracle, oracle.schedule.timesteps(60), Renoise())
    move = Proximal(A, oracle.spectrum, oracle.encode)
    result = run(problem, solve(y, chain, phi, move, problem.sigma, rng=generators(seed, 8)))
    assert mnc(delta(11, 8), k).mean() < 0.7
    found = mnc(result.kernel, k) > 0.95
    assert found.sum() >= 7
    assert (result.image - x)[found].square().mean().sqrt() < 0.03


def test_the_papers_composition_finds_the_kernel_where_it_finds_the_scene(blind, scenes, schedule):
    """Norm gradients do not weigh the modes of the prior exactly: some chains settle on another scene, the others are right."""
    from blindinv.priors.oracle import OraclePrior

    x, k, y = blind
    prior = OraclePrior(x, schedule)
    problem = Deblurring.of(y, 0.01, 11, circular=True, seed=1)
    result = run(problem, latentdem_paper(problem, prior, identity, steps=100, skip=always))
    right = (result.image - x).square().mean((1, 2, 3)).sqrt() < 0.03
    figures = mnc(result.kernel, k)
    assert right.sum() >= 4  # one in eight would be chance
    assert (figures[right] > 0.95).all()
    assert (figures[~right] < 0.9).all()


def test_samples_do_not_touch_each_other(latent_prior, scenes):
    """The whole paper's method, M-step and skipping included: sample 0 alone and in a batch of three."""
    x, k = scenes(3, 3, 32, seed=9), motion_kernels(3, 11, 1.0, torch.Generator().manual_seed(5))
    y = CircularConvolution()(x, k)

    def last(batch):
        problem = Deblurring.of(y[:batch], 0.02, 11, circular=True)
        return run(problem, latentdem_paper(problem, latent_prior, identity, steps=12, skip=Skip(3, 500)))

    alone, together = last(1), last(3)
    torch.testing.assert_close(together.image[:1], alone.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.kernel[:1], alone.kernel, atol=1e-5, rtol=0)
