"""The one look of progress bars: on stderr, if it is a terminal, and gone when they are done."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def bars(*more: ProgressColumn) -> Iterator[Progress]:
    """Bars with a description, done of all, `more`, and the time left; nothing is shown where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *more, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        yield shown
