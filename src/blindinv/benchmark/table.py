"""Records as a table, on the terminal and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.table import Table

from blindinv.benchmark.records import Record
from blindinv.training.loop import write_atomically

GOOD_KERNEL, GOOD_RATIO = 0.8, 3.0
NONE = "–"

Published = Mapping[str, Mapping[str, str]]
"""What a paper reports: name of the row -> title of the column -> text."""


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        title: its heading.
        value: records of one row -> text.
    """

    title: str
    value: Callable[[Sequence[Record]], str]


def mean(figure: str, digits: int) -> Callable[[Sequence[Record]], str]:
    """The mean of a figure over the images."""

    def value(records: Sequence[Record]) -> str:
        values = [r.figures[figure] for r in records if figure in r.figures]
        return f"{fmean(values):.{digits}f}" if values else NONE

    return value


def good_kernels(records: Sequence[Record]) -> str:
    """How many kernels have an MNC of 0.80 or more."""
    return f"{sum(r.figures['mnc'] >= GOOD_KERNEL for r in records)}/{len(records)}"


def good_ratios(records: Sequence[Record]) -> str:
    """How many pictures have an error ratio below 3, which Levin et al. (2009) call success."""
    ratios = [r.figures["error_ratio"] for r in records if "error_ratio" in r.figures]
    return f"{sum(ratio < GOOD_RATIO for ratio in ratios)}/{len(ratios)}" if ratios else NONE


PSNR, SSIM, MNC = (
    Column("PSNR, best shift", mean("psnr_shift", 2)),
    Column("SSIM", mean("ssim", 3)),
    Column("MNC", mean("mnc", 3)),
)
LPIPS, KERNEL_MSE = Column("LPIPS", mean("lpips", 3)), Column("kernel MSE", mean("kernel_mse", 3))
SECONDS = Column("s", lambda records: f"{fmean(r.seconds for r in records):.1f}")
CPU_SECONDS = Column("CPU s", lambda records: f"{fmean(r.cpu_seconds for r in records):.1f}")
GOOD = Column("MNC ≥ .80", good_kernels)
PHOTOS64 = (Column("PSNR", mean("psnr", 2)), PSNR, SSIM, MNC, GOOD, SECONDS, CPU_SECONDS)
LEVIN = (
    PSNR,
    Column("worst PSNR", lambda records: f"{min(r.figures['psnr_shift'] for r in records):.2f}"),
    Column("error ratio", mean("error_ratio", 2)),
    Column("ratio < 3", good_ratios),
    MNC,
    GOOD,
    SECONDS,
    CPU_SECONDS,
)


def label(record: Record) -> str:
    """The name of the row that a record belongs to, with the number of steps where it is not the method's own."""
    steps = record.config.get("steps")
    return record.method if steps is None else f"{record.method}, {steps} steps"


def by_row(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each row, the latest of each image, in the order in which rows and images first appear."""
    table: dict[str, dict[str, Record]] = {}
    for record in records:
        table.setdefault(label(record), {})[record.image] = record
    return {name: list(of.values()) for name, of in table.items()}


def common(records: Sequence[Record]) -> list[Record]:
    """The records of those images that every row has."""
    table = by_row(records)
    images = set.intersection(*({r.image for r in of} for of in table.values())) if table else set()
    return [r for r in records if r.image in images]


def complete(records: Sequence[Record]) -> list[Record]:
    """The records of those rows that have the most images."""
    table = by_row(records)
    most = max((len(of) for of in table.values()), default=0)
    return [r for r in records if len(table[label(r)]) == most]


def lines(records: Sequence[Record], columns: Sequence[Column], published: Published | None = None) -> list[list[str]]:
    """Heading and a line for each row; a column of which a paper reports something is followed by what it reports."""
    published, table = published or {}, by_row(records)
    theirs = [published.get(of[0].method, {}) for of in table.values()]
    heading, body = ["method", "n"], [[name, str(len(of))] for name, of in table.items()]
    for column in columns:
        paper = any(column.title in their for their in theirs)
        heading += [column.title, "paper"] if paper else [column.title]
        for line, of, their in zip(body, table.values(), theirs, strict=True):
            line += [column.value(of), their.get(column.title, "")] if paper else [column.value(of)]
    return [heading, *body]


def rich_lines(title: str, lines: Sequence[Sequence[str]]) -> Table:
    """Heading and lines, for a rich console."""
    heading, *body = lines
    table = Table(title=title)
    for i, text in enumerate(heading):
        table.add_column(text, justify="right" if i else "left", no_wrap=not i)
    for line in body:
        table.add_row(*line)
    return table


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """Heading and lines as a Markdown table."""
    heading, *body = lines
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heading, rule, *body])


def write_markdown(path: Path, text: str) -> None:
    """Write a Markdown table to a file, whole or not at all."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
