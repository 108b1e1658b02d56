"""`blindinv bench views` with a tiny random Zero123."""

import torch
from test_zero123 import parts, save
from typer.testing import CliRunner

from blindinv.benchmark.records import read
from blindinv.cli import app

runner = CliRunner()


def test_the_command_runs_stores_and_goes_on(tmp_path):
    torch.manual_seed(0)
    prior, out = save(tmp_path / "tiny", parts()), tmp_path / "runs" / "views.jsonl"
    rows = ["--method", "nearest-input", "--method", "one-view", "--method", "two-known"]
    command = ["bench", "views", "--prior", str(prior), "--limit", "2", "--steps", "2", "--out", str(out), *rows]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    records = read(out)
    assert len(records) == 6 and out.with_suffix(".md").exists() and out.with_suffix(".png").exists()
    assert {r.image for r in records.values()} == {"blocks-000", "blocks-001"}
    assert all(r.config["guidance"] == 3 for r in records.values() if r.method != "nearest-input")
    before = out.read_bytes()
    assert runner.invoke(app, command).exit_code == 0 and out.read_bytes() == before
    assert runner.invoke(app, [*command, "--first", "1"]).exit_code == 0
    assert {r.image for r in read(out).values()} == {"blocks-000", "blocks-001", "blocks-002"}
    assert runner.invoke(app, [*command, "--family", "tilted", "--limit", "1"]).exit_code == 0
    assert "one-view, tilted" in {r.method for r in read(out).values()}


def test_what_is_wrong_is_said_in_one_line(tmp_path):
    for wrong in (["--method", "nothing"], ["--family", "cats"], ["--prior", str(tmp_path / "none")]):
        result = runner.invoke(app, ["bench", "views", "--limit", "1", *wrong])
        assert result.exit_code == 2 and result.output.startswith("blindinv: ") and result.output.count("\n") == 1
