"""What a table or figure of the papers is: a value, from which its command, its page and its picture are made."""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from statistics import fmean
from typing import TYPE_CHECKING

from blindinv.benchmark.records import Record
from blindinv.benchmark.rows import Row, rows
from blindinv.benchmark.runner import Watch
from blindinv.benchmark.table import Column, Published

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Ask:
    """What a user may choose in some tables; empty is the table's own choice.

    Attributes:
        priors: names or paths of image priors.
        weights: of a penalty.
    """

    priors: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()


class Results:
    """Records to be asked, one for each method and image: that with the most steps."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.of: dict[str, dict[str, Record]] = {}
        for r in sorted(records, key=lambda r: r.config.get("steps") or 10**9):
            self.of.setdefault(r.method, {})[r.image] = r

    def values(self, figure: str, *methods: str) -> list[list[float]]:
        """A figure of each method, on the images that all of them have; "time" is one too, processor time on a CPU.

        Raises:
            KeyError: a method was not run, or has no such figure.
            ValueError: they have no image in common.
        """
        images = [i for i in self.of[methods[0]] if all(i in self.of[m] for m in methods)]
        if not images:
            raise ValueError(f"{' and '.join(methods)} have no image in common")
        picked = [[self.of[m][i] for i in images] for m in methods]
        return [[_time(r) if figure == "time" else r.figures[figure] for r in column] for column in picked]

    def means(self, figure: str, *methods: str) -> list[float]:
        """The means of `values`."""
        return [fmean(v) for v in self.values(figure, *methods)]

    def blind(self) -> list[str]:
        """The methods that were run and not given the true kernel."""
        return [m for m in self.of if m != "blurred" and not m.endswith("-true")]


def _time(record: Record) -> float:
    return record.cpu_seconds if record.config.get("device") == "cpu" else record.seconds


@dataclass(frozen=True)
class Goal:
    """Something that was to be reached.

    Attributes:
        what: is measured.
        asked: in words.
        reached: results -> what was reached, and whether that is enough; raises KeyError where nothing was run.
    """

    what: str
    asked: str
    reached: Callable[[Results], tuple[str, bool]]

    def line(self, results: Results) -> list[str]:
        """What, asked, reached."""
        try:
            text, enough = self.reached(results)
        except (KeyError, ValueError):
            return [self.what, self.asked, "not run"]
        return [self.what, self.asked, text if enough else f"{text} (missed)"]


def at_least(figure: str, method: str, least: float, digits: int = 2, unit: str = "") -> Callable[[Results], tuple[str, bool]]:
    """The mean of a figure of a method is so much or more."""

    def reached(results: Results) -> tuple[str, bool]:
        (value,) = results.means(figure, method)
        return f"{value:.{digits}f}{unit}", value >= least

    return reached


def above(figure: str, method: str, other: str, least: float, unit: str = " dB") -> Callable[[Results], tuple[str, bool]]:
    """A method is above another by so much or more (by at most so much below, where that is negative)."""

    def reached(results: Results) -> tuple[str, bool]:
        a, b = results.means(figure, method, other)
        return f"{a - b:+.2f}{unit} ({a:.2f} against {b:.2f})", a - b >= least

    return reached


@dataclass(frozen=True)
class Bench:
    """A table or figure.

    Attributes:
        title: heading.
        source: what it stands for in the papers, and what the paper measured it on.
        rows: its rows.
        columns: of the table.
        published: what the paper reports.
        figure: draws records into an empty matplotlib figure (None: there is none).
        goals: what is to be reached.
        protocol: "photos-64" or "levin".
        limit: pictures, where the user names no number (None: all).
        steps: of the reverse diffusion, the same (None: each method's own).
        watch: see `Plan`.
        kernels: whether the figure shows kernels, so that records hold them.
    """

    title: str
    source: str
    rows: Callable[[Ask], dict[str, Row]]
    columns: tuple[Column, ...]
    published: Published | None = None
    figure: "Callable[[Sequence[Record], Figure], None] | None" = None
    goals: tuple[Goal, ...] = ()
    protocol: str = "photos-64"
    limit: int | None = None
    steps: int | None = None
    watch: Watch | None = None
    kernels: bool = False

    def chosen(self, ask: Ask, methods: Sequence[str]) -> dict[str, Row]:
        """Its rows, or those of the names, its own and others.

        Raises:
            ValueError: there is no such row.
        """
        own = self.rows(ask)
        table = rows() | own if methods else own
        for name in methods:
            if name not in table:
                raise ValueError(f"--method {name}: there is no such row; give one of {', '.join(table)}")
        return {name: table[name] for name in dict.fromkeys(methods or own)}


@lru_cache(maxsize=1)
def benches() -> Mapping[str, Bench]:
    """All tables by name: those in a dictionary `BENCHES` of a file in this folder."""
    from blindinv import benchmark

    found: dict[str, Bench] = {}
    for module in pkgutil.iter_modules(benchmark.__path__):
        found |= getattr(import_module(f"{benchmark.__name__}.{module.name}"), "BENCHES", {})
    return found
