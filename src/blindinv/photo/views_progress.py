"""What is seen while a reconstruction runs: its stage, steps, evaluations of the prior and time left, on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import TimeElapsedColumn

from blindinv.photo.bars import bars
from blindinv.views.reconstruct import Stage

REFRESH = 0.2
SAID = {
    "height": "height of the first camera",
    "poses": "looking for the cameras",
    "views": "novel views",
    "elevation": "elevation",
    "surface": "surface",
}


@contextmanager
def stages() -> Iterator[Callable[[Stage], None]]:
    """Show a bar while the block runs, if stderr is a terminal.

    Yields:
        what to call after every step.
    """
    with bars(TimeElapsedColumn()) as bar:
        task, current, shown = bar.add_task("", total=None), "", 0.0

        def record(stage: Stage) -> None:
            nonlocal current, shown
            if stage.name != current:
                current = stage.name
                bar.reset(task, description=SAID[current], total=stage.total)
            elif stage.step < stage.total and time.monotonic() - shown < REFRESH:
                return
            shown = time.monotonic()
            bar.update(task, completed=stage.step, total=stage.total)

        yield record
