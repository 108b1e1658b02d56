"""Every table is a value that is whole: its rows exist, its papers' numbers belong to rows and columns, its goals judge."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from blindinv.benchmark import cli
from blindinv.benchmark.bench import Ask, Results, above, at_least, benches
from blindinv.benchmark.blinddps_tables import penalties
from blindinv.benchmark.cli import ON_PHOTOS
from blindinv.benchmark.records import Record
from blindinv.benchmark.rows import rows
from blindinv.benchmark.table import lines
from blindinv.guidance.sparsity import l0


def record(method: str, image: str = "i", seconds: float = 1.0, device: str = "cpu", **figures: float) -> Record:
    figures = {"psnr": 20.0, "psnr_shift": 21.0, "ssim": 0.5, "mnc": 0.5, "kernel_mse": 0.1} | figures
    return Record("b", method, image, 0, {"device": device}, {}, {}, figures, 7.0, seconds)


def test_every_table_has_a_command_and_every_command_a_table():
    commands = {c.name for c in cli.app.registered_commands}
    assert {*ON_PHOTOS, "levin"} <= set(benches()) <= commands
    assert {b.protocol for b in benches().values()} >= {"photos-64", "levin", "poisson"}


@pytest.mark.parametrize("name", sorted(name for name, b in benches().items() if b.rows(Ask())))
def test_a_table_is_whole(name: str):
    bench = benches()[name]
    own, columns = bench.rows(Ask()), {c.title for c in bench.columns}
    assert own and all(set(their) <= columns for their in (bench.published or {}).values())
    heading, *body = lines([record(m, error_ratio=1.5) for m in own], bench.columns, bench.published)
    assert len(body) == len(own) and all(len(line) == len(heading) for line in body)
    assert all(goal.line(Results([])) == [goal.what, goal.asked, "not run"] for goal in bench.goals)


def test_rows_are_described_the_same_in_every_process():
    settings = [r.settings for table in (rows(), *(b.rows(Ask()) for b in benches().values())) for r in table.values()]
    assert any("Skip(every=8, above=500)" in s.values() for s in settings)
    assert not [text for s in settings for text in s.values() if " at 0x" in text], "an address is another one next time"


def test_rows_that_differ_are_described_differently():
    for bench in benches().values():
        own = [r for r in bench.rows(Ask()).values() if r.settings]
        told = [[v for v in r.run.keywords.values() if isinstance(v, bool)] for r in own]
        assert len({(str(r.settings), r.own_prior, *flags) for r, flags in zip(own, told, strict=True)}) == len(own)


def test_a_table_takes_rows_of_others_but_its_own_first():
    table2 = benches()["table2"]
    assert list(table2.chosen(Ask(), ["f-skip-16-0", "blurred", "f-skip-16-0"])) == ["f-skip-16-0", "blurred"]
    with pytest.raises(ValueError, match="no such row"):
        table2.chosen(Ask(), ["annealed"])


def test_weights_and_priors_make_rows():
    table = penalties(Ask(weights=(0.0, 3.0)))
    assert list(table) == ["none", "l1-3", "l0-3"]
    method = table["l0-3"].run.keywords["method"]
    assert method.sparsity == 3 and method.norm is l0 and table["none"].run.keywords["method"].sparsity == 0
    table = benches()["priors"].rows(Ask(priors=("photos", "here/mine.safetensors")))
    assert [r.own_prior for r in table.values()] == ["photos", "here/mine.safetensors"]
    assert list(table) == ["latentdem-on-photos", "latentdem-on-mine"]


def test_goals_compare_on_the_images_that_both_have():
    a = [record("a", "1", psnr_shift=30.0), record("a", "2", psnr_shift=10.0)]
    results = Results([*a, record("b", "2", psnr_shift=8.5), record("a-true", "1")])
    assert above("psnr_shift", "a", "b", 1.0)(results) == ("+1.50 dB (10.00 against 8.50)", True)
    assert above("psnr_shift", "a", "b", 2.0)(results)[1] is False
    assert at_least("psnr_shift", "a", 20.0)(results) == ("20.00", True)
    assert results.blind() == ["a", "b"]
    with pytest.raises(ValueError, match="no image in common"):
        above("psnr_shift", "b", "a-true", 0)(results)


def test_of_two_lengths_the_longer_counts():
    short, own = (replace(record("a", psnr_shift=p), config={"steps": n}) for p, n in ((10.0, 50), (20.0, None)))
    assert Results([own, short]).means("psnr_shift", "a") == Results([short, own]).means("psnr_shift", "a") == [20.0]


def test_time_is_processor_time_on_a_processor():
    goal = benches()["table2"].goals[0]
    on_cpu = [record("f-skip-16-0", seconds=2.0), record("c-no-skip", seconds=9.0)]
    assert goal.line(Results(on_cpu))[2] == "4.5 times (2.0 s against 9.0 s)"
    on_gpu = [replace(r, config={"device": "cuda"}) for r in on_cpu]
    assert goal.line(Results(on_gpu))[2] == "1.0 times (7.0 s against 7.0 s) (missed)"


def test_figures_draw_what_the_records_say():
    records = [
        replace(record(m, i), curves={"t": [900.0, 100.0], "kernel_mse": [b, 0.1], "mnc": [0.2, 0.8]})
        for m, b in (("annealed", 0.3), ("not-annealed", 0.5))
        for i in "12"
    ]
    figure = Figure()
    benches()["annealing"].figure(records, figure)
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [900, 100] and line.get_ydata().tolist() == [0.3, 0.1]
    figure = Figure()
    weights = [record("none", mnc=0.3), record("l1-0.1", mnc=0.4), record("l1-1", mnc=0.6), record("l0-1", mnc=0.7)]
    benches()["sparsity"].figure(weights, figure)
    l1_line = figure.axes[1].lines[0]
    assert list(l1_line.get_xdata()) == [0.1, 1.0] and list(l1_line.get_ydata()) == [0.4, 0.6]
    figure = Figure()
    benches()["levin"].figure([record("a", i, error_ratio=r) for i, r in (("1", 1.2), ("2", 9.0))], figure)
    assert figure.axes[0].lines[0].get_ydata()[[0, -1]].tolist() == [0, 50]


def test_options_of_other_tables_are_refused(tmp_path):
    for name, option in (("table2", ["--weight", "1"]), ("table1", ["--prior", "a", "--prior", "b"])):
        result = CliRunner().invoke(cli.app, [name, "--images", str(tmp_path), *option])
        assert result.exit_code == 2 and f"{name} takes" in result.stderr and len(result.stderr.splitlines()) == 1
