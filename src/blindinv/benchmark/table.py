"""Records as a table, on the terminal and as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.table import Table

from blindinv.benchmark.records import Record
from blindinv.training.loop import write_atomically

GOOD_KERNEL = 0.8


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        title: its heading.
        value: records of one method -> text.
    """

    title: str
    value: Callable[[Sequence[Record]], str]


def mean(figure: str, digits: int) -> Callable[[Sequence[Record]], str]:
    """The mean of a figure over the images."""
    return lambda records: f"{fmean(r.figures[figure] for r in records):.{digits}f}"


def good_kernels(records: Sequence[Record]) -> str:
    """How many kernels have an MNC of 0.80 or more."""
    return f"{sum(r.figures['mnc'] >= GOOD_KERNEL for r in records)}/{len(records)}"


_PSNR, _MNC = Column("PSNR, best shift", mean("psnr_shift", 2)), Column("MNC", mean("mnc", 3))
_COMMON = (
    Column("MNC ≥ .80", good_kernels),
    Column("s", lambda records: f"{fmean(r.seconds for r in records):.1f}"),
    Column("CPU s", lambda records: f"{fmean(r.cpu_seconds for r in records):.1f}"),
)
PHOTOS64 = (Column("PSNR", mean("psnr", 2)), _PSNR, Column("SSIM", mean("ssim", 3)), _MNC, *_COMMON)
LEVIN = (_PSNR, Column("worst PSNR", lambda records: f"{min(r.figures['psnr_shift'] for r in records):.2f}"), _MNC, *_COMMON)


def lines(records: Sequence[Record], columns: Sequence[Column]) -> list[list[str]]:
    """Heading and one line per method, in the order in which methods first appear."""
    methods: dict[str, list[Record]] = {}
    for record in records:
        methods.setdefault(record.method, []).append(record)
    heading = ["method", "n", *(c.title for c in columns)]
    return [heading, *([name, str(len(of)), *(c.value(of) for c in columns)] for name, of in methods.items())]


def rich_table(title: str, records: Sequence[Record], columns: Sequence[Column]) -> Table:
    """For a rich console."""
    return rich_lines(title, lines(records, columns))


def rich_lines(title: str, lines: Sequence[Sequence[str]]) -> Table:
    """Heading and lines, for a rich console."""
    heading, *body = lines
    table = Table(title=title)
    for i, text in enumerate(heading):
        table.add_column(text, justify="right" if i else "left", no_wrap=not i)
    for line in body:
        table.add_row(*line)
    return table


def markdown(records: Sequence[Record], columns: Sequence[Column]) -> str:
    """As a Markdown table."""
    return markdown_lines(lines(records, columns))


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """Heading and lines as a Markdown table."""
    heading, *body = lines
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heading, rule, *body])


def write_markdown(path: Path, records: Sequence[Record], columns: Sequence[Column]) -> None:
    """Write `markdown` to a file, whole or not at all."""
    write_atomically(path, lambda p: p.write_text(markdown(records, columns), encoding="utf-8"))
