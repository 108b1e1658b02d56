"""Running, storing, resuming and showing, with rows that need no weights."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from typer.testing import CliRunner

from blindinv.benchmark import bench, cli
from blindinv.benchmark.cases import Batch, Case, Task, per_sample
from blindinv.benchmark.records import Record, append, pack, read
from blindinv.benchmark.rows import Context, Row, blurred, sparse_true
from blindinv.benchmark.runner import Plan, run
from blindinv.benchmark.sheet import Gallery, spread_out
from blindinv.benchmark.table import PHOTOS64, common, complete, label, lines, markdown_lines
from blindinv.kernels.measure import delta
from blindinv.metrics import psnr
from blindinv.solve import Progress


def tiny_task(folder: Path, count: int = 5) -> Task:
    cases = []
    for i in range(count):
        file = folder / f"{i}.txt"
        file.write_text(str(i))
        truth = torch.full((1, 3, 16, 16), i / count)
        cases.append(Case(file.name, file, truth + 0.1, truth, delta(9), 0.02))
    return Task("tiny", cases, 9, True, lambda b, x, k: per_sample(psnr=psnr(x, b.truth)), {"a": 1})


def counting(calls: list[int]) -> Row:
    def row(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        calls.append(len(batch.y))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return blurred(batch, context)

    return Row(row)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path):
    task, calls = tiny_task(tmp_path), []
    plan = Plan(task, {"row": counting(calls)}, Context(), tmp_path / "runs" / "out.jsonl", batch=2)
    with pytest.raises(KeyboardInterrupt):
        list(run(plan))
    assert len(read(plan.out)) == 4
    records = list(run(plan))
    assert calls == [2, 2, 1, 1] and [r.image for r in records] == [c.name for c in task.cases]
    assert records[0].figures["psnr"] == pytest.approx(20, abs=1e-3) and len(read(plan.out)) == 5
    assert list(run(plan)) == records and len(calls) == 4


def test_another_seed_batch_or_file_is_another_experiment(tmp_path: Path):
    calls: list[int] = []
    task, out = tiny_task(tmp_path, 1), tmp_path / "out.jsonl"
    row = {"row": Row(lambda b, c: (calls.append(1), blurred(b, c))[1])}
    list(run(Plan(task, row, Context(), out)))
    list(run(Plan(task, row, Context(seed=1), out)))
    list(run(Plan(task, row, Context(), out, batch=4)))
    task.cases[0].file.write_text("changed")
    list(run(Plan(task, row, Context(), out)))
    list(run(Plan(task, row, Context(), out)))
    list(run(Plan(task, row, Context(), out, redo=True)))
    assert len(calls) == 5 and len(read(out)) == 4


def record(method: str = "m", image: str = "i", **figures: float) -> Record:
    return Record("b", method, image, 0, {}, {}, {}, figures, 1.0, 2.0)


def test_a_half_written_line_costs_only_itself(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    append(path, [record(image="1"), record(image="2")])
    path.write_bytes(path.read_bytes()[:-20])
    append(path, [record(image="3")])
    assert [r.image for r in read(path).values()] == ["1", "3"]
    assert json.loads(path.read_text().splitlines()[0])["image"] == "1"


def test_table_has_means_and_counts():
    records = [
        record("a", "1", psnr=20, psnr_shift=21, ssim=0.5, mnc=0.79),
        record("a", "2", psnr=22, psnr_shift=23, ssim=0.7, mnc=0.81),
        record("b", "1", psnr=30, psnr_shift=30, ssim=0.9, mnc=1.0),
    ]
    assert lines(records, PHOTOS64)[1:] == [
        ["a", "2", "21.00", "22.00", "0.600", "0.800", "1/2", "1.0", "2.0"],
        ["b", "1", "30.00", "30.00", "0.900", "1.000", "1/1", "1.0", "2.0"],
    ]
    assert markdown_lines(lines(records, PHOTOS64)).splitlines()[1].startswith("| --- | ---: |")


def test_a_table_shows_the_papers_number_beside_ours():
    records = [record("a", psnr_shift=21), record("b", psnr_shift=30)]
    table = lines(records, [PHOTOS64[1], PHOTOS64[3]], {"b": {"PSNR, best shift": "29.5 / 28"}})
    assert table == [
        ["method", "n", "PSNR, best shift", "paper", "MNC"],
        ["a", "1", "21.00", "", "–"],
        ["b", "1", "30.00", "29.5 / 28", "–"],
    ]


def test_rows_of_different_length_are_different_rows():
    few, many = (replace(record("a", psnr_shift=21), config={"steps": n}) for n in (50, None))
    assert [label(few), label(many)] == ["a, 50 steps", "a"] and len(lines([few, many], PHOTOS64[1:2])) == 3


def test_common_keeps_the_images_that_all_rows_have():
    records = [record("a", "1"), record("a", "2"), record("a", "3"), record("b", "3"), record("b", "2")]
    assert [(r.method, r.image) for r in common(records)] == [("a", "2"), ("a", "3"), ("b", "3"), ("b", "2")]


def test_complete_keeps_the_rows_with_the_most_images():
    records = [record("a", "1"), record("a", "2"), record("b", "3"), record("c", "2"), record("c", "3")]
    assert {r.method for r in complete(records)} == {"a", "c"} and complete([]) == []


def test_packed_records_are_the_same_records_but_small(tmp_path: Path):
    config, versions = {"steps": 7, "words": "x" * 500}, {"source": "y" * 500}
    records = [
        Record("b", "m", str(i), 0, config, {"image": str(i)}, versions, {"psnr": 21.123456789}, 1.0, 2.0, {"t": [9.0, 1.0]})
        for i in range(20)
    ]
    path = tmp_path / "packed.jsonl"
    path.write_text(pack(records))
    found = list(read(path).values())
    assert [replace(r, figures={}) for r in found] == [replace(r, figures={}) for r in records]
    assert found[0].figures == {"psnr": 21.123} and path.stat().st_size < 10_000 and pack(found) == pack(records)
    append(path, records[:1])
    assert len(read(path)) == 20, "a run goes on from a packed file"


def test_gallery_keeps_and_arranges(tmp_path: Path):
    noise = torch.rand(6, 1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    cases = [Case(f"{i}.png", tmp_path, n, n, delta(9), 0.0) for i, n in enumerate(noise)]
    gallery = Gallery(tmp_path / "g", spread_out(cases, 3))
    assert [c.name for c in gallery.cases] == ["0.png", "2.png", "5.png"]
    for case in cases:
        assert gallery.missing("m", case) == (case in gallery.cases)
        gallery.keep("m", case, case.y, case.kernel)
        assert not gallery.missing("m", case)
    sheet = gallery.sheet(["blurred", "m", "not run"])
    assert sheet.stat().st_size < 1_000_000
    with Image.open(sheet) as image:
        assert image.width > image.height * 0.8
    assert sorted(p.name for p in (tmp_path / "g" / "m").iterdir())[:2] == ["0.png", "0.safetensors"]


def test_curves_and_kernels_are_stored_where_they_are_shown(tmp_path: Path):
    def method(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        for i, t in enumerate((900, 500, 100)):
            phi = delta(9, len(batch.y)) / (i + 1)
            context.record(Progress(i + 1, 3, t, t != 500, phi, batch.y, batch.y))
        return batch.y, phi

    def watch(batch: Batch, p: Progress) -> list[dict[str, float]]:
        return per_sample(peak=p.phi.amax((1, 2, 3)), level=batch.truth.mean((1, 2, 3)))

    seen = []
    context = Context(record=seen.append)
    plan = Plan(tiny_task(tmp_path, 2), {"row": Row(method)}, context, tmp_path / "out.jsonl", batch=2, watch=watch, kernels=True)
    first, second = run(plan)
    assert first.curves == {"peak": [1, pytest.approx(1 / 3)], "level": [0, 0], "t": [900, 100]}
    assert second.curves["level"] == [0.5, 0.5] and len(seen) == 3 and context.record == seen.append
    with Image.open(io.BytesIO(base64.b64decode(first.kernels["found"]))) as image:
        assert image.size == (9, 9) and image.getpixel((4, 4)) == 255 and image.getpixel((0, 0)) == 0
    assert list(run(plan)) == [first, second]


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "rows", lambda: {"blurred": Row(blurred), "sparse-true": Row(sparse_true)})


def test_command(tmp_path: Path, no_models: None):
    (tmp_path / "in").mkdir()
    Image.fromarray(data.astronaut()[:256, 100:356]).save(tmp_path / "in" / "a.png")
    common = ["photos-64", "--images", str(tmp_path / "in"), "--out", str(tmp_path / "p.jsonl"), "--device", "cpu"]
    result = CliRunner().invoke(
        cli.app, [*common, "--method", "blurred", "--method", "sparse-true", "--pictures", str(tmp_path / "pics")]
    )
    assert result.exit_code == 0, result.output
    assert "sparse-true" in result.output and (tmp_path / "pics" / "sheet.png").exists()
    blurry, sharp = (r.figures for r in read(tmp_path / "p.jsonl").values())
    assert sharp["psnr_shift"] > blurry["psnr_shift"] and sharp["mnc"] == pytest.approx(1)
    assert (tmp_path / "p.md").read_text().count("\n") == 4


def test_command_refuses_in_one_line(tmp_path: Path, no_models: None):
    for arguments in (["photos-64", "--images", str(tmp_path)], ["levin", str(tmp_path)]):
        result = CliRunner().invoke(cli.app, [*arguments, "--out", str(tmp_path / "o.jsonl")])
        assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    result = CliRunner().invoke(
        cli.app, ["photos-64", "--images", str(tmp_path), "--method", "magic", "--out", str(tmp_path / "o.jsonl")]
    )
    assert result.exit_code == 2 and "no such row" in result.stderr and not (tmp_path / "o.jsonl").exists()
