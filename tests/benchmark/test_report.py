"""Pages say what the records say, and nothing else."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from blindinv.benchmark import cli
from blindinv.benchmark.figures import write_figure
from blindinv.benchmark.records import Record, append, read
from blindinv.benchmark.report import draw_figures, fill, fill_file, store_file

ROOT = Path(__file__).parents[2]
PAGE = "# Title\n\nWords 12.3.\n\n<!-- begin {} -->\nold words\n<!-- end -->\n\nMore words.\n"


def record(method: str, image: str, psnr: float, steps: int | None = 50, seconds: float = 1.0) -> Record:
    figures = {"psnr": psnr, "psnr_shift": psnr, "ssim": 0.5, "mnc": 0.5, "kernel_mse": 0.25}
    return Record("photos-64", method, image, 0, {"steps": steps, "device": "cpu"}, {"image": image}, {}, figures, 2.0, seconds)


def some(folder: Path) -> Path:
    vanilla = [record("vanilla-em", "a", 20, seconds=100), record("vanilla-em", "b", 18, seconds=100)]
    append(folder / "table3.jsonl", [*vanilla, record("diffusion-em", "a", 21), record("diffusion-em", "b", 19)])
    return folder


@pytest.mark.skipif(not (ROOT / "docs" / "records").is_dir(), reason="an installed package has no docs")
@pytest.mark.parametrize("page", ["docs/results.md", "README.md"])
def test_the_committed_pages_are_what_the_command_makes_of_the_committed_records(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- begin table" in text
    assert fill(text, ROOT / "docs" / "records") == text, "run `blindinv bench report`; tables are not edited by hand"


@pytest.mark.skipif(not (ROOT / "docs" / "records").is_dir(), reason="an installed package has no docs")
def test_stored_records_are_small_and_whole():
    for path in (ROOT / "docs" / "records").iterdir():
        assert path.stat().st_size < 1_000_000
        assert not re.search(r'"/\w+/', path.read_text(encoding="utf-8")), f"{path.name} names a place on a machine"
        if path.suffix == ".jsonl" and path.stem != "speed":
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            assert len(read(path)) == sum("shared" not in line for line in lines) > 0
            assert all(r.versions["torch"] and r.sha256["image"] for r in read(path).values())


def test_a_table_stands_beside_the_papers_numbers(tmp_path: Path):
    text = fill(PAGE.format("table table3"), some(tmp_path))
    assert "old words" not in text and text.startswith("# Title\n\nWords 12.3.\n") and text.endswith("More words.\n")
    assert "| vanilla-em, 50 steps | 2 | 19.00 | 20.43 | 0.500 | .561 | – | .419 |" in text
    assert fill(text, tmp_path) == text, "a second time changes nothing"


def test_goals_are_judged(tmp_path: Path):
    text = fill(PAGE.format("goals table3"), some(tmp_path))
    assert "| 100.0 times (1.0 s against 100.0 s) |" in text and "| +1.00 dB (20.00 against 19.00) |" in text
    assert "| +0.00 (0.50 against 0.50) |" in text
    append(tmp_path / "table3.jsonl", [record("diffusion-em", "b", 10)])
    assert "| -3.50 dB (15.50 against 19.00) (missed) |" in fill(PAGE.format("goals table3"), tmp_path)


def test_options_choose_rows_and_images(tmp_path: Path):
    some(tmp_path)
    append(tmp_path / "table3.jsonl", [record("vanilla-em", "c", 99)])
    one = fill(PAGE.format("table table3 rows=vanilla-em first=1"), tmp_path)
    assert "| vanilla-em, 50 steps | 1 | 20.00 |" in one and "diffusion" not in one
    assert "| vanilla-em, 50 steps | 2 | 19.00 |" in fill(PAGE.format("table table3 common"), tmp_path)
    for block in ("table table3 magic", "table table9", "pie table3"):
        with pytest.raises(ValueError, match="which is none"):
            fill(PAGE.format(block), tmp_path)


def test_what_was_not_run_says_so(tmp_path: Path):
    assert "*Not run.*" in fill(PAGE.format("table table2"), tmp_path)
    append(tmp_path / "table3.jsonl", [record("vanilla-em", "a", 20)])
    assert fill(PAGE.format("goals table3"), tmp_path).count("| not run |") == 6


def test_stored_files_of_other_commands(tmp_path: Path):
    (tmp_path / "p.md").write_text("# Prior\n\n## One\n\n![x](s.png)\n")
    text = fill(PAGE.format("file p.md"), tmp_path)
    assert "\n### One\n" in text and "# Prior" not in text and "](images/s.png)" in text
    fact = {
        "photo_sha256": "",
        "photo": "/here/a.png",
        "width": 100,
        "height": 50,
        "seconds": 1.0,
        "peak_memory_mib": {"resident": 99.6},
        "device": "cpu",
    }
    silent = fact | {"width": 200, "peak_memory_mib": {}}
    (tmp_path / "speed.jsonl").write_text("".join(json.dumps(f) + "\n" for f in (fact, silent)))
    stored = store_file(tmp_path / "speed.jsonl", tmp_path / "records")
    assert "here" not in stored.read_text()
    page = fill(PAGE.format("speed speed"), tmp_path / "records")
    assert "| 100x50 | 1.0 | 200 | 100 | cpu |" in page
    assert "| 200x50 | 1.0 | 100 | – | cpu |" in page, "a system that does not tell the memory"


def test_a_stored_row_is_one_experiment(tmp_path: Path):
    stored = tmp_path / "records"
    append(tmp_path / "table3.jsonl", [record("a", "1", 20), record("b", "1", 30)])
    assert store_file(tmp_path / "table3.jsonl", stored) == stored / "table3.jsonl"
    (tmp_path / "table3.jsonl").unlink()
    append(tmp_path / "table3.jsonl", [record("b", "2", 40), record("a", "2", 21)])
    store_file(tmp_path / "table3.jsonl", stored)
    assert len(read(stored / "table3.jsonl")) == 4, "the same settings: more photos of the same row"
    (tmp_path / "table3.jsonl").unlink()
    other = record("a", "2", 22)
    other.config["batch"] = 7
    append(tmp_path / "table3.jsonl", [other])
    store_file(tmp_path / "table3.jsonl", stored)
    found = [(r.method, r.image, r.figures["psnr"]) for r in read(stored / "table3.jsonl").values()]
    assert found == [("b", "1", 30), ("b", "2", 40), ("a", "2", 22)]
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="no records"):
        store_file(tmp_path / "empty.jsonl", stored)


def test_a_figure_is_drawn_anew_only_for_new_records(tmp_path: Path):
    def draw(records, figure):
        drawn.append(len(records))
        figure.subplots().plot([r.figures["psnr"] for r in records])

    drawn: list[int] = []
    path, records = tmp_path / "images" / "a.png", [record("a", "1", 20)]
    assert write_figure(path, draw, records) and not write_figure(path, draw, records) and drawn == [1]
    assert write_figure(path, draw, [*records, record("a", "2", 30)]) and drawn == [1, 2]
    with Image.open(path) as image:
        assert image.width > 500
    append(tmp_path / "records" / "table2.jsonl", [record("c-no-skip", "1", 20)])
    assert [(p.name, new) for p, new in draw_figures(tmp_path / "records", tmp_path)] == [("table2.png", True)]


def test_command_twice_changes_nothing(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("table table3"))
    options = ["report", "--records", str(some(tmp_path / "records")), "--out", str(page), "--figures", str(tmp_path / "images")]
    assert "written" in CliRunner().invoke(cli.app, options).output
    first = page.read_bytes()
    assert "as it was" in CliRunner().invoke(cli.app, options).output and page.read_bytes() == first
    assert not fill_file(page, tmp_path / "records")
    page.write_text(PAGE.format("table nothing"))
    result = CliRunner().invoke(cli.app, options)
    assert result.exit_code == 2 and "which is none" in result.stderr and "old words" in page.read_text()
