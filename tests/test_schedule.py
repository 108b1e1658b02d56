import itertools

import pytest
import torch

from blindinv.schedule import Schedule


def test_abar_is_the_product_of_alphas():
    betas = torch.tensor([0.1, 0.2, 0.5])
    s = Schedule.from_betas(betas)
    assert [s.at(t) for t in (-1, 0, 1, 2)] == pytest.approx([1, 0.9, 0.72, 0.36])
    assert s.abar.dtype == torch.float64
    assert len(s) == 3


@pytest.mark.parametrize(("s", "last"), [(Schedule.scaled_linear(), 0.00466), (Schedule.linear(), 4.04e-5)])
def test_published_schedules(s, last):
    assert len(s) == 1000
    assert s.at(999) == pytest.approx(last, rel=5e-3)
    assert (s.abar.diff() < 0).all()


def test_a_model_may_end_elsewhere():
    assert Schedule(torch.tensor([0.9, 0.5]), final=0.9).at(-1) == 0.9


@pytest.mark.parametrize("t", [-2, 1000])
def test_t_out_of_range(t, schedule):
    with pytest.raises(ValueError, match=r"outside -1\.\.999"):
        schedule.at(t)


@pytest.mark.parametrize("n", [2, 3, 7, 50, 333, 999, 1000])
@pytest.mark.parametrize("start", [None, 999])
def test_timesteps_fall_evenly_to_zero(schedule, n, start):
    ts = schedule.timesteps(n, start)
    gaps = [a - b for a, b in itertools.pairwise(ts)]
    assert (len(ts), ts[0], ts[-1]) == (n, 999, 0)
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_timesteps_from_the_middle(schedule):
    assert schedule.timesteps(4, 300) == [300, 200, 100, 0]
    assert schedule.timesteps(1000) == list(range(999, -1, -1))
    assert schedule.timesteps(1, 200) == [200]


@pytest.mark.parametrize(("n", "start"), [(0, None), (1001, None), (12, 10)])
def test_too_many_or_too_few(schedule, n, start):
    with pytest.raises(ValueError, match="do not fit"):
        schedule.timesteps(n, start)
