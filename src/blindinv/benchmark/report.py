"""The pages of the docs: tables and goals are written from stored records, between markers, and never by hand.

A block is `<!-- begin WHAT NAME OPTION... -->`, its text, `<!-- end -->`. WHAT is

    table   the table NAME. Options: `common`, only the images that all rows have; `first=N`, only the first N by name;
            `rows=a,b`, only these rows.
    goals   the goals of NAME, what was asked and what was reached.
    figure  the figure of NAME.
    source  what NAME stands for in the papers.
    file    the file NAME of the records, Markdown that another command wrote; its pictures are looked for in images/.
    speed   seconds and memory, from NAME.jsonl, lines of `blindinv deblur --json`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blindinv.benchmark.bench import Bench, Results, benches
from blindinv.benchmark.figures import write_figure
from blindinv.benchmark.records import Record, pack, read
from blindinv.benchmark.table import common, complete, label, lines, markdown_lines
from blindinv.training.loop import write_atomically

BLOCK = re.compile(r"<!-- begin (?P<what>\w+) (?P<name>\S+)(?P<options>[^>]*?) -->\n.*?<!-- end -->", re.DOTALL)
LARGEST = 1_000_000
NOT_RUN = "*Not run.*\n"


def fill(text: str, records: Path) -> str:
    """A page with its blocks written anew.

    Args:
        text: of the page.
        records: folder of NAME.jsonl.

    Raises:
        ValueError: a block that is not known, or an option that is none.
    """

    def block(match: re.Match[str]) -> str:
        options = dict(part.partition("=")[::2] for part in match["options"].split())
        opening = match[0].partition("\n")[0]
        return f"{opening}\n\n{_block(match['what'], match['name'], options, records)}\n<!-- end -->"

    return BLOCK.sub(block, text)


def _block(what: str, name: str, options: Mapping[str, str], records: Path) -> str:
    if what in ("file", "speed"):
        path = records / (name if what == "file" else f"{name}.jsonl")
        return (_file if what == "file" else _speed)(path) if path.is_file() else NOT_RUN
    if name not in benches() or what not in ("table", "goals", "figure", "source"):
        raise ValueError(f"a page has the block 'begin {what} {name}', which is none")
    bench = benches()[name]
    if what == "source":
        return f"Stands for {bench.source}\n"
    found = chosen(list(read(records / f"{name}.jsonl").values()), options)
    if not found:
        return NOT_RUN
    if what == "goals":
        return goals(bench, found)
    if what == "figure":
        return f"![{bench.title}](images/{name}.png)\n"
    return markdown_lines(lines(found, bench.columns, bench.published))


def chosen(records: list[Record], options: Mapping[str, str]) -> list[Record]:
    """Those that the options of a block ask for.

    Raises:
        ValueError: an option that is none.
    """
    for option, value in options.items():
        if option == "rows":
            names = value.split(",")
            records = sorted((r for r in records if r.method in names), key=lambda r: names.index(r.method))
        elif option == "first":
            images = sorted({r.image for r in records})[: int(value)]
            records = [r for r in records if r.image in images]
        elif option == "common":
            records = common(records)
        else:
            raise ValueError(f"a page has a block with the option '{option}', which is none")
    return records


def goals(bench: Bench, records: list[Record]) -> str:
    """What was asked and what was reached, as a Markdown table; goals of which nothing was run say so."""
    results = Results(records)
    body = "".join("| " + " | ".join(goal.line(results)) + " |\n" for goal in bench.goals)
    return "| goal | asked | reached |\n| --- | --- | --- |\n" + body


def _file(path: Path) -> str:
    """A stored Markdown page without its first heading, and the others one level lower."""
    text = re.sub(r"\A# .*\n+", "", path.read_text(encoding="utf-8"))
    text = re.sub(r"^## ", "### ", text, flags=re.MULTILINE)
    return re.sub(r"\]\(([^/)]+\.(?:png|jpg))\)", r"](images/\1)", text).strip() + "\n"


def _speed(path: Path) -> str:
    facts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    body = []
    for f in facts:
        size, rate = f"{f['width']}x{f['height']}", 1e6 * f["seconds"] / (f["width"] * f["height"])
        memory = f["peak_memory_mib"].get("resident")  # not every system tells
        body.append([size, f"{f['seconds']:.1f}", f"{rate:.0f}", "–" if memory is None else f"{memory:.0f}", f["device"]])
    return markdown_lines([["size", "seconds", "microseconds a pixel", "peak memory, MiB", "device"], *body])


def fill_file(page: Path, records: Path) -> bool:
    """Fill a page in its place, whole or not at all.

    Returns:
        whether anything changed.

    Raises:
        ValueError: as `fill`, or there is no such page.
    """
    if not page.is_file():
        raise ValueError(f"{page} is no page")
    before = page.read_text(encoding="utf-8")
    after = fill(before, records)
    if after != before:
        write_atomically(page, lambda p: p.write_text(after, encoding="utf-8"))
    return after != before


def draw_figures(records: Path, folder: Path) -> Iterator[tuple[Path, bool]]:
    """Draw the figure of every table of which there are records, of its longest rows; yields its path and whether it is new."""
    for name, bench in benches().items():
        stored = list(read(records / f"{name}.jsonl").values())
        if bench.figure is not None and stored:
            path = folder / f"{name}.png"
            yield path, write_figure(path, bench.figure, common(complete(stored)))


def store_file(file: Path, records: Path) -> Path:
    """Add the records of a run to the stored ones of the same name.

    Stored records of its rows that were made with other settings or weights are dropped: a row is one experiment.
    Markdown pages are copied, and so are the lines of `blindinv deblur --json`, without the names of files.

    Raises:
        ValueError: there are no records, or the file would be too large.
    """
    path = records / file.name
    text = file.read_text(encoding="utf-8")
    if '"photo_sha256"' in text:
        facts = [json.loads(line) for line in text.splitlines()]
        text = "".join(json.dumps({k: v for k, v in f.items() if k not in ("photo", "folder")}) + "\n" for f in facts)
    elif file.suffix != ".md":
        new = read(file)
        if not new:
            raise ValueError(f"{file} has no records")
        kinds = {label(r): _experiment(r) for r in new.values()}
        kept = [r for r in (read(path) | new).values() if kinds.get(label(r), _experiment(r)) == _experiment(r)]
        text = pack(kept)
    if len(text.encode()) > LARGEST:
        raise ValueError(f"{path} would be larger than 1 MB; store fewer records in it")
    records.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
    return path


def _experiment(record: Record) -> tuple[Any, ...]:
    return record.config, record.seed, {k: v for k, v in record.sha256.items() if k != "image"}
