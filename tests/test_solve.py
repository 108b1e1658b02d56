"""The one loop: what it calls and how often, that samples are independent, and the values around it."""

import pytest
import torch

from blindinv.guidance.losses import Combined, Glue, Measurement
from blindinv.guidance.moves import Descend, Proximal
from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import delta
from blindinv.methods.latentdem_paper import Skip
from blindinv.mstep.hqs import HQS, l1
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.problem import MIN_SIGMA, Deblurring, run
from blindinv.protocols import generators, randn
from blindinv.solve import Diffused, solve
from blindinv.step import DDIM, DDPM
from blindinv.unknown import Estimated, Known

CIRCULAR = CircularConvolution()


def sigma(batch, value=0.02):
    return torch.full((batch, 1, 1, 1), value)


def guidance(prior, A=CIRCULAR):
    return Descend(Combined(((1.0, Measurement(A)), (0.1, Glue(A, prior.encode)))))


class CountingStep:
    """An M-step that moves the kernel a little and remembers when it ran."""

    def __init__(self):
        self.ran = []

    def __call__(self, y, x, k, t, sigma):
        assert not x.requires_grad
        self.ran.append(t)
        return k + 1


@pytest.mark.parametrize(
    ("n", "every", "above", "skipped"),
    [(40, 8, 500, 17), (40, 8, 0, 35), (40, 1, 0, 0), (1000, 8, 500, 437), (1000, 8, 0, 875), (1000, 16, 0, 937)],
)
def test_skipped_steps_do_not_decode(small_oracle, counting, n, every, above, skipped):
    """One network call a step; one decoding, one encoding, one backward pass and one M-step a full step.

    A last step that is skipped decodes too. The counts on 1000 steps are the paper's (table 2).
    """
    prior, m_step, skip = counting(small_oracle), CountingStep(), Skip(every, above)
    y = torch.rand(1, 3, 16, 16)
    ts = prior.schedule.timesteps(n)
    steps = list(solve(y, Diffused(prior, ts), Estimated(delta(9), m_step), guidance(prior), sigma(1), active=skip))
    full = [t for i, t in enumerate(ts) if skip(i, t)]
    decoded = len(full) + (not skip(n - 1, ts[-1]))
    assert n - len(full) == skipped
    assert [p.t for p in steps if p.full] == full
    assert m_step.ran == full
    assert prior.count == {"denoise": n, "decode": decoded, "encode": len(full), "backward": len(full)}
    assert all((p.x is None) != p.full for p in steps[:-1])


def test_a_skipped_last_step_shows_the_decoded_posterior_mean(small_oracle):
    """No guidance, no M-step, no gradient: the image is decode(z0), and the kernel is that of the step before."""
    m_step, y = CountingStep(), torch.rand(1, 3, 16, 16)
    chain = Diffused(small_oracle, [900, 500, 100])
    *_, before, last = solve(y, chain, Estimated(delta(9), m_step), guidance(small_oracle), sigma(1), active=lambda i, t: i == 0)
    assert (before.x, before.full, last.full) == (None, False, False)
    assert m_step.ran == [900]
    assert torch.equal(last.x, small_oracle.decode(last.z0))
    assert torch.equal(last.phi, before.phi)
    assert not last.x.requires_grad


def test_guidance_without_gradient_goes_back_through_nothing(small_oracle, counting):
    prior = counting(small_oracle)
    move = Proximal(CIRCULAR, small_oracle.spectrum, prior.encode)
    y = torch.rand(1, 3, 16, 16)
    list(solve(y, Diffused(prior, [900, 500, 100]), Known(delta(9)), move, sigma(1)))
    assert prior.count["backward"] == 0
    assert prior.count["denoise"] == prior.count["decode"] == 3


def test_progress_counts_and_holds_values(small_oracle):
    m_step, ts = CountingStep(), [900, 700, 500, 300]
    steps = list(
        solve(torch.rand(2, 3, 16, 16), Diffused(small_oracle, ts), Estimated(delta(9, 2), m_step, lambda t: t < 800),
              guidance(small_oracle), sigma(2))
    )  # fmt: skip
    assert [(p.step, p.total, p.t) for p in steps] == [(i + 1, 4, t) for i, t in enumerate(ts)]
    assert m_step.ran == [700, 500, 300]
    assert [p.phi.sum().item() for p in steps] == [2, 2 + 162, 2 + 324, 2 + 486]
    for p in steps:
        assert p.x.shape == p.z0.shape == (2, 3, 16, 16)
        assert not p.x.requires_grad
        assert not p.z0.requires_grad


@pytest.mark.parametrize("method", ["descend", "proximal"])
@pytest.mark.parametrize("A", [CIRCULAR, FreeConvolution()])
def test_samples_do_not_touch_each_other(oracle, scenes, A, method):
    """Sample 0 alone is sample 0 in a batch of three, whatever the others are."""
    frame = (48, 48) if A is CIRCULAR else (37, 37)
    canvas = A.canvas(frame, 11)
    assert canvas == (48, 48)
    x = scenes(3, 3, 48, seed=3)
    y = A.frame(A(x, gaussian_kernel(11, 1.5)), frame).contiguous()
    move = guidance(oracle, A) if method == "descend" else Proximal(A, oracle.spectrum, oracle.encode)
    em = HQS(A, l1, iterations=3, spectrum=oracle.spectrum)

    def last(batch):
        unknown = Estimated(gaussian_kernel(11, 1.0).expand(batch, -1, -1, -1), em)
        start = Diffused(oracle, [800, 600, 400, 200], DDPM())
        *_, p = solve(y[:batch], start, unknown, move, sigma(batch), canvas=canvas, rng=generators(7, batch))
        return p

    alone, together = last(1), last(3)
    torch.testing.assert_close(together.x[:1], alone.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.phi[:1], alone.phi, atol=1e-5, rtol=0)


def test_a_start_is_noised_to_the_first_timestep(small_oracle, schedule):
    x = small_oracle.decode(small_oracle.z[:1])
    z = Diffused(small_oracle, [300, 0], start=x).begin((1, 3, 16, 16), generators(5, 1), x)
    a, noise = schedule.at(300), randn((1, 3, 16, 16), generators(5, 1))
    torch.testing.assert_close(z, a**0.5 * (2 * x - 1) + (1 - a) ** 0.5 * noise)
    *_, p = solve(x, Diffused(small_oracle, [200, 0], start=x), Known(delta(9)), guidance(small_oracle), sigma(1))
    assert (p.x - x).abs().mean() < 0.05


def test_unguided_the_loop_is_plain_ddim(small_oracle, schedule):
    class Nothing:
        needs_grad = False

        def __call__(self, e):
            from blindinv.protocols import Guided

            return Guided(e.z0, None, e.x0)

    ts, y = [999, 600, 300], torch.zeros(2, 3, 16, 16)
    *_, p = solve(y, Diffused(small_oracle, ts), Known(delta(9, 2)), Nothing(), sigma(2))
    z = randn((2, 3, 16, 16), generators(0, 2))
    for t, s in ((999, 600), (600, 300)):
        z = DDIM()(schedule, z, small_oracle.denoise(z, t), t, s, z)
    torch.testing.assert_close(p.z0, small_oracle.denoise(z, 300))


def test_generators_belong_to_samples():
    a, b = randn((3, 2, 4), generators(1, 3)), randn((1, 2, 4), generators(1, 1))
    assert torch.equal(a[:1], b)
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a, randn((3, 2, 4), generators(2, 3)))


def test_problem_detects_borders(astronaut):
    blurred = CIRCULAR(astronaut, gaussian_kernel(25, 4.0))
    assert Deblurring.of(blurred, 0.01, 25).circular
    free = Deblurring.of(blurred[..., 10:210, 20:240], 0.01, 25)
    assert not free.circular
    assert free.canvas == (240, 256)
    assert free.frame(torch.rand(1, 3, *free.canvas)).shape[-2:] == (200, 220)
    assert not Deblurring.of(blurred, 0.01, 25, circular=False).circular


def test_problem_repeats_for_samples(astronaut):
    y = torch.cat([astronaut, 1 - astronaut])
    p = Deblurring.of(y, torch.tensor([0.01, 0.02]), samples=3, kernel=gaussian_kernel(15, 2.0))
    assert p.kernel_size == 15
    assert (len(p.y), len(p.rng), len(p.kernel)) == (6, 6, 6)
    assert torch.equal(p.y[2], y[0])
    assert torch.equal(p.y[3], y[1])
    assert p.sigma.flatten().tolist() == pytest.approx([0.01] * 3 + [0.02] * 3)


def test_no_noise_is_a_little_noise():
    p = Deblurring.of(torch.rand(1, 3, 32, 32), 0.0, 9)
    assert p.sigma.item() == pytest.approx(MIN_SIGMA)


@pytest.mark.parametrize(
    ("y", "kwargs", "message"),
    [
        (torch.rand(3, 32, 32), {}, r"\(B, 3, H, W\)"),
        (torch.rand(1, 1, 32, 32), {}, r"\(B, 3, H, W\)"),
        (torch.full((1, 3, 32, 32), torch.nan), {}, "not finite"),
        (torch.rand(1, 3, 32, 32), {"kernel_size": 7}, "outside 9..129"),
        (torch.rand(1, 3, 32, 32), {"kernel_size": 64}, "too small"),
        (torch.rand(1, 3, 32, 32), {"sigma": -0.1}, "not negative"),
        (torch.rand(1, 3, 32, 32), {"sigma": float("nan")}, "not negative"),
        (torch.rand(1, 3, 40, 40), {"circular": True}, "multiples of 16"),
    ],
)
def test_problem_refuses(y, kwargs, message):
    with pytest.raises(ValueError, match=message):
        Deblurring.of(y, **({"sigma": 0.01, "kernel_size": 15} | kwargs))


def test_run_keeps_what_the_caller_records(small_oracle):
    problem = Deblurring.of(torch.rand(1, 3, 16, 16), 0.05, 9, circular=True)
    steps = solve(problem.y, Diffused(small_oracle, [900, 500, 100]), Known(delta(9)), guidance(small_oracle), problem.sigma)
    result = run(problem, steps, lambda p: p.t if p.t != 500 else None)
    assert result.history == [900, 100]
    assert result.image.shape == (1, 3, 16, 16)
    assert 0 <= result.image.min() <= result.image.max() <= 1
    assert result.kernel is not None
    assert result.sigma is problem.sigma
