"""A progress bar on stderr: step, residual and time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import TextColumn

from blindinv.photo.bars import bars
from blindinv.problem import Deblurring
from blindinv.solve import Progress

REFRESH = 0.2


@contextmanager
def progress_bar(name: str, problem: Deblurring) -> Iterator[Callable[[Progress], None]]:
    """Show a bar while the block runs, if stderr is a terminal.

    Args:
        name: of the photo.
        problem: that is solved; for the residual.

    Yields:
        what to call after every step.
    """
    with bars(TextColumn("residual {task.fields[residual]}")) as bar:
        task = bar.add_task(name, total=None, residual="-")
        shown = 0.0

        def record(p: Progress) -> None:
            nonlocal shown
            if bar.disable or (p.step < p.total and time.monotonic() - shown < REFRESH):
                return
            shown = time.monotonic()
            figure = residual(p, problem)
            bar.update(task, completed=p.step, total=p.total)
            if figure is not None:
                bar.update(task, residual=f"{figure:.4f}")

        yield record


def residual(p: Progress, problem: Deblurring) -> float | None:
    """Root mean square of y - k * x of the first sample, on [0, 1]; None after a skipped step or for a part of the image."""
    if p.x is None or tuple(p.x.shape[-2:]) != problem.canvas:
        return None
    x, k = p.x[:1].float().cpu(), p.phi[:1].float().cpu()
    return float((problem.frame(problem.A(x, k)) - problem.y[:1]).square().mean().sqrt())
