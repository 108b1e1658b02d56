"""Parallel diffusions: exact priors find the pair, the step is what the paper writes, and a known operator gives DPS."""

from dataclasses import replace

import pytest
import torch

from blindinv.guidance.losses import Combined, Measurement
from blindinv.guidance.moves import Descend
from blindinv.guidance.sparsity import Sparsity, l0, l1
from blindinv.kernels.measure import delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.methods.blinddps import BlindDPS, Kernel, blinddps, constant, root_abar
from blindinv.methods.method import Models, Options
from blindinv.operators.convolution import CircularConvolution
from blindinv.priors.kernel_diffusion import KernelStates
from blindinv.priors.oracle import OraclePrior
from blindinv.priors.uniform import UniformPrior
from blindinv.problem import Deblurring, run
from blindinv.protocols import generators, randn
from blindinv.schedule import Schedule
from blindinv.solve import Diffused, solve
from blindinv.step import DDPM
from blindinv.unknown import Known

SIZE, N = 32, 9


class KnownKernels(KernelStates):
    """Knows every kernel there is, as `OraclePrior` knows every image."""

    def __init__(self, kernels, schedule):
        super().__init__(kernels.shape[-1], schedule)
        self.z = self.encode(kernels)

    def denoise(self, z_t, t):
        a = self.schedule.at(t)
        distance = (z_t.flatten(1)[:, None] - a**0.5 * self.z.flatten(1)).square().sum(-1)
        share = (-distance / (2 * (a * 0.02**2 + 1 - a))).softmax(1)
        return (share @ self.z.flatten(1)).view_as(z_t)


@pytest.fixture(scope="module")
def world():
    g = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(6, 3, 8, 8, generator=g), (SIZE, SIZE)) * 0.8 + 0.1
    kernels = motion_kernels(5, N, 0.5, g)
    return images, kernels, OraclePrior(images, Schedule.scaled_linear()), KnownKernels(kernels, Schedule.linear())


def observe(x, k, seed=1):
    y = CircularConvolution()(x, k)
    return y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))


def test_exact_priors_find_image_and_kernel(world):
    images, kernels, prior, kernel_prior = world
    x, k = images[2:4], kernels[[1, 4]]
    problem = Deblurring.of(observe(x, k), 0.01, N, True, seed=3)
    method = BlindDPS(steps=100, rate=0.2, kernel_rate=0.2)
    result = run(problem, method(problem, Models(prior, kernel_prior=kernel_prior), Options()))
    assert (mnc(result.kernel, k) > 0.99).all() and (result.image - x).abs().mean() < 0.03
    assert torch.allclose(result.kernel.sum((1, 2, 3)), torch.ones(2), atol=1e-5) and result.kernel.min() >= 0


def test_one_step_is_the_papers(world):
    """DDPM steps of both chains, then minus the gradients of |y - k0 * x0| on the [-1, 1] scale, written out."""
    images, kernels, prior, kernel_prior = world
    y, A, t = observe(images[:1], kernels[:1]), CircularConvolution(), 600
    rng = generators(0, 1)
    z, zk = randn((1, 3, SIZE, SIZE), rng).requires_grad_(), randn((1, 1, N, N), rng).requires_grad_()
    x0, k0 = prior.denoise(z, t), kernel_prior.denoise(zk, t)
    k = ((k0 + 1) / 2).clamp(min=0)
    loss = (2 * (A((x0 + 1) / 2, k / k.sum()) - y)).norm()
    gz, gk = torch.autograd.grad(loss, (z, zk))
    noises = randn((1, 3, SIZE, SIZE), rng), randn((1, 1, N, N), rng)
    step, s = DDPM(), 300
    expected = step(prior.schedule, z, x0, t, s, noises[0]) - 0.3 * gz
    expected_k = step(kernel_prior.schedule, zk, k0, t, s, noises[1]) - 0.1 * gk

    chain, kernel_chain = Diffused(prior, [t, s], step), Diffused(kernel_prior, [t, s], step)
    seen = []
    move = Descend(Measurement(Kernel(A)), lambda t: 0.3, {"kernel": lambda t: 0.1})

    class Spy:
        needs_grad = True

        def __call__(self, e):
            seen.append((e.z.detach(), e.parts["kernel"].z.detach(), e.parts["kernel"].t))
            return move(e)

    sigma = torch.full((1, 1, 1, 1), 0.01)
    list(solve(y, chain, {"kernel": kernel_chain}, Spy(), sigma))
    assert seen[1][2] == s
    assert torch.allclose(seen[1][0], expected, atol=1e-5) and torch.allclose(seen[1][1], expected_k, atol=1e-5)


def test_a_known_kernel_gives_dps(world):
    images, kernels, prior, _ = world
    y, A, sigma = observe(images[:2], kernels[:2]), CircularConvolution(), torch.full((2, 1, 1, 1), 0.01)
    parallel = list(blinddps(y, Kernel(A), prior, {"kernel": kernels[:2]}, sigma, steps=20, scale=constant(0.3)))[-1]
    x = Diffused(prior, prior.schedule.timesteps(20), DDPM())
    dps = list(solve(y, x, Known(kernels[:2]), Descend(Measurement(A), lambda t: 0.3), sigma))[-1]
    assert torch.equal(parallel.x, dps.x) and torch.equal(parallel.phi["kernel"], kernels[:2])


def test_samples_do_not_depend_on_their_batch(world):
    images, kernels, prior, kernel_prior = world
    y, sigma = observe(images[:3], kernels[:3]), torch.full((3, 1, 1, 1), 0.01)

    def ends(n):
        A = Kernel(CircularConvolution())
        return list(blinddps(y[:n], A, prior, {"kernel": kernel_prior}, sigma[:n], steps=10))[-1]

    assert torch.allclose(ends(1).x, ends(3).x[:1], atol=1e-5)
    assert torch.allclose(ends(1).phi["kernel"], ends(3).phi["kernel"][:1], atol=1e-6)


def test_step_sizes():
    schedule = Schedule.linear()
    assert constant(0.3)(schedule)(700) == 0.3
    assert root_abar(2.0)(schedule)(100) == pytest.approx(2 * schedule.at(100) ** 0.5)
    assert root_abar()(schedule)(0) > root_abar()(schedule)(900)


def test_sparsity_before_normalisation_has_a_gradient_and_after_it_none(world):
    """The published code measures l1 after normalisation, where it is one whatever the kernel."""
    states = KernelStates(N, Schedule.linear())
    z = (0.3 * torch.rand(2, 1, N, N, generator=torch.Generator().manual_seed(0))).requires_grad_()
    after = torch.autograd.grad(l1(states.decode(z)).sum(), z)[0]
    assert after.abs().max() < 1e-6
    for norm in (l1, l0):
        assert torch.autograd.grad(norm(states.raw(z)).sum(), z)[0].abs().min() > 1e-3
    spread, point = torch.full((1, 1, N, N), 1 / N**2), delta(N)
    assert l0(point) < l0(spread / spread.max())
    assert torch.allclose(l1(point), torch.ones(1)) and torch.allclose(l1(spread), torch.ones(1))


def test_sparsity_acts_on_the_kernel_alone(world):
    images, kernels, prior, _ = world
    y, sigma, uniform = observe(images[:1], kernels[:1]), torch.full((1, 1, 1, 1), 0.01), UniformPrior(N)
    A = Kernel(CircularConvolution())

    def mass(weight):
        penalty = Sparsity(uniform.raw)
        p = list(
            blinddps(y, A, prior, {"kernel": uniform}, sigma, steps=20, scale=constant(0.1), penalty=penalty, weight=weight)
        )[-1]
        return l0(p.phi["kernel"] / p.phi["kernel"].amax())

    assert mass(1.0) < mass(0.0)
    known = list(blinddps(y, A, prior, {"kernel": kernels[:1]}, sigma, steps=5, penalty=Sparsity(uniform.raw)))[-1]
    plain = list(blinddps(y, A, prior, {"kernel": kernels[:1]}, sigma, steps=5))[-1]
    assert torch.equal(known.x, plain.x)


def test_chains_of_unequal_length_are_refused(world):
    images, _, prior, kernel_prior = world
    x, k = Diffused(prior, [900, 0]), Diffused(kernel_prior, [900, 500, 0])
    with pytest.raises(ValueError, match="3 timesteps"):
        list(solve(images[:1], x, k, Descend(Combined(())), torch.ones(1, 1, 1, 1)))


def test_a_kernel_larger_than_the_priors_is_refused(world):
    images, _, prior, kernel_prior = world
    problem = Deblurring.of(images[:1], 0.01, 11, True)
    with pytest.raises(ValueError, match="up to 9"):
        BlindDPS(steps=5)(problem, Models(prior, kernel_prior=kernel_prior), Options())
    list(BlindDPS(steps=2)(replace(problem, kernel_size=9), Models(prior, kernel_prior=kernel_prior), Options()))
