import io

import pytest
import torch
from rich.console import Console

import blindinv.photo.bars as bars_module
from blindinv.kernels.measure import delta
from blindinv.photo.progress import progress_bar, residual
from blindinv.problem import Deblurring
from blindinv.solve import Progress


def problem_and_step(step=3, total=3, offset=0.1):
    y = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    problem = Deblurring.of(y, 0.01, 9, circular=True)
    return problem, Progress(step, total, 0, True, delta(9, 2), torch.cat([y + offset, y]), y)


def test_residual_is_that_of_the_first_sample():
    problem, p = problem_and_step()
    assert residual(p, problem) == pytest.approx(0.1, abs=1e-5)
    for x in (None, p.x[..., :16]):
        assert residual(Progress(1, 3, 0, False, p.phi, x, p.z0), problem) is None


@pytest.mark.parametrize("terminal", [True, False])
def test_bar_shows_on_terminals_only(monkeypatch, terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    monkeypatch.setattr(bars_module, "Console", lambda stderr: console)
    problem, p = problem_and_step()
    with progress_bar("photo.jpg", problem) as record:
        assert record(p) is None
    shown = stream.getvalue()
    assert all(word in shown for word in ("photo.jpg", "3/3", "0.1000")) if terminal else shown == ""
