"""The reverse steps are those of diffusers' schedulers, on the same predictions and the same noise."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from blindinv.schedule import Schedule
from blindinv.step import DDIM, DDPM, Renoise
from blindinv.zoo.adapters import PREDICTIONS, schedule_of

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def cases(n: int) -> list[tuple[int, int]]:
    """(t, s) of some steps of diffusers' 'leading' spacing, the first and the last ones among them."""
    stride = 1000 // n
    ts = list(range(0, 1000, stride))[::-1]
    return [(t, max(t - stride, -1)) for t in (ts[0], ts[1], ts[n // 3], ts[n // 2], ts[-2], ts[-1])]


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 4, 4, generator=g, dtype=torch.float64) for _ in range(3))


def double(scheduler):
    """The scheduler with its tables in float64, so that the comparison is of formulas and not of rounding."""
    abar = torch.cumprod(1 - scheduler.betas.double(), 0)
    assert torch.allclose(abar.float(), scheduler.alphas_cumprod, atol=1e-6)
    scheduler.alphas_cumprod = abar
    if getattr(scheduler, "final_alpha_cumprod", 1.0) != 1.0:
        scheduler.final_alpha_cumprod = abar[0]
    return scheduler


def posterior_mean(kind: str, z: torch.Tensor, out: torch.Tensor, abar: float) -> torch.Tensor:
    a = torch.tensor(abar, dtype=torch.float64)
    return PREDICTIONS[kind](z, out, a.sqrt(), (1 - a).sqrt())


@pytest.mark.parametrize("kind", list(PREDICTIONS))
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("n", [1000, 50, 10])
@pytest.mark.parametrize("to_one", [True, False])
def test_ddim(kind, eta, n, to_one):
    theirs = double(DDIMScheduler(**SD, prediction_type=kind, set_alpha_to_one=to_one))
    theirs.set_timesteps(n)
    schedule, (z, out, noise) = schedule_of(theirs), tensors()
    for t, s in cases(n):
        expected = theirs.step(out, t, z, eta=eta, variance_noise=noise).prev_sample
        ours = DDIM(eta)(schedule, z, posterior_mean(kind, z, out, schedule.at(t)), t, s, noise)
        assert torch.allclose(ours, expected, atol=1e-6), (t, s)


@pytest.mark.parametrize("kind", list(PREDICTIONS))
@pytest.mark.parametrize("n", [1000, 50, 10])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_ddpm(kind, n, betas):
    theirs = double(DDPMScheduler(**{**SD, "beta_schedule": betas}, prediction_type=kind))
    theirs.set_timesteps(n)
    schedule, (z, out, _) = schedule_of(theirs), tensors()
    if betas == "linear":
        assert torch.allclose(schedule.abar, Schedule.linear(1000, 0.00085, 0.012).abar, rtol=1e-4)
    for t, s in cases(n):
        expected = theirs.step(out, t, z, generator=torch.Generator().manual_seed(1)).prev_sample
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=z.dtype)
        ours = DDPM()(schedule, z, posterior_mean(kind, z, out, schedule.at(t)), t, s, noise)
        assert torch.allclose(ours, expected, atol=1e-6), (t, s)


def test_ddim_with_eta_one_is_ddpm():
    schedule, (z, z0, noise) = Schedule.scaled_linear(), tensors()
    for t, s in cases(50):
        ours = DDIM(1.0)(schedule, z, z0, t, s, noise)
        assert torch.allclose(ours, DDPM()(schedule, z, z0, t, s, noise), atol=1e-10), (t, s)


def test_ddim_of_the_truth_follows_the_forward_process():
    schedule, (z0, noise, _) = Schedule.scaled_linear(), tensors()

    def at(t: int) -> torch.Tensor:
        return schedule.at(t) ** 0.5 * z0 + (1 - schedule.at(t)) ** 0.5 * noise

    assert torch.allclose(DDIM()(schedule, at(900), z0, 900, 300, noise), at(300))
    assert torch.allclose(Renoise()(schedule, at(900), z0, 900, 300, noise), at(300))


def test_every_step_is_finite_on_a_schedule_with_zero_terminal_snr():
    theirs = DDIMScheduler(**SD, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    schedule, (z, out, noise) = schedule_of(theirs), tensors()
    z0 = posterior_mean("v_prediction", z, out, schedule.at(999))
    assert 0 < schedule.at(999) < schedule.at(998)
    for step in (DDIM(0.0), DDIM(1.0), DDPM(), Renoise()):
        for s in (998, 500, 0, -1):
            assert step(schedule, z, z0, 999, s, noise).isfinite().all()
    theirs.set_timesteps(1000)
    expected = theirs.step(out, 999, z, eta=0.0).prev_sample
    assert torch.allclose(DDIM()(schedule, z, z0, 999, 998, noise), expected, atol=1e-3)
