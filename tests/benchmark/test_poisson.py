"""The protocol of light levels: counts, what the methods are told, and goals by level."""

import pytest
import torch
from PIL import Image
from skimage import data

from blindinv.benchmark.bench import Ask, Results, benches
from blindinv.benchmark.poisson import LEVELS, at, both_likelihoods, photons, poisson_task
from blindinv.benchmark.records import Record
from blindinv.operators.noise import poisson_sigma


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()).save(folder / "a.png")
    Image.fromarray(data.cat()).save(folder / "b.png")
    return poisson_task(folder, seed=0)


def test_every_photo_at_every_level(task):
    names = [f"{photo} at {level}" for level in LEVELS for photo in ("a.png", "b.png")]
    assert [case.name for case in task.cases] == names
    for case, level in zip(task.cases, [n for n in LEVELS for _ in range(2)], strict=True):
        counts = case.y * level
        torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
        assert case.y.min() >= 0
        assert photons(task.batch([case], "cpu")) == [pytest.approx(level, rel=1e-3)]


def test_both_likelihoods_are_told_the_same_noise(task):
    """The map's root mean square is the one number that the Gaussian rows get; noise of two levels is not related."""
    batch = task.batch(task.cases[:2], "cpu")
    for y, s, g in zip(batch.y, batch.sigma, photons(batch), strict=True):
        assert poisson_sigma(y[None], g).square().mean().sqrt().item() == pytest.approx(s.item(), rel=0.02)
    a, b = (task.cases[i].y for i in (0, 2))
    truth = torch.nn.functional.avg_pool2d(task.cases[4].y, 9, 1, 4)
    residuals = [(y - truth).flatten() for y in (a, b)]
    assert abs(torch.corrcoef(torch.stack(residuals))[0, 1]) < 0.2


def test_rows_and_goals_by_level():
    table = both_likelihoods(Ask())
    assert {"latentdem-gaussian", "latentdem-poisson", "dps-true-gaussian", "dps-true-poisson"} <= set(table)

    def record(method, level, value):
        return Record("poisson", method, f"a.png at {level}", 0, {}, {}, {}, {"psnr_shift": value}, 1.0, 1.0)

    records = [record("latentdem-gaussian", n, 20.0) for n in LEVELS] + [
        record("latentdem-poisson", n, 20.0 + d) for n, d in zip(LEVELS, (1.0, -0.5, 0.25), strict=True)
    ]
    assert [r.method for r in at(100, records)] == ["latentdem-gaussian", "latentdem-poisson"]
    goals = [g for g in benches()["poisson"].goals if g.what.startswith("latentdem,")]
    lines = [goal.line(Results(records))[-1] for goal in goals]
    assert [line.split()[0] for line in lines] == ["+1.00", "-0.50", "+0.25"]
    assert ["missed" in line for line in lines] == [False, True, False]
