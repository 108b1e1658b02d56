"""The bar of `blindinv views`: silent where nobody looks, and with every stage where somebody does."""

import sys

import pytest
from rich.console import Console

import blindinv.photo.bars as bars_module
import blindinv.photo.views_progress as module
from blindinv.photo.views_progress import SAID, stages
from blindinv.views.reconstruct import Stage


def run(record):
    for name in SAID:
        for step in range(1, 4):
            record(Stage(name, step, 3))


def test_silent_off_a_terminal(capsys: pytest.CaptureFixture[str]):
    with stages() as record:
        run(record)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_every_stage_and_its_last_step_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(bars_module, "Console", lambda stderr: Console(file=sys.stderr, force_terminal=True, width=100))
    monkeypatch.setattr(module, "REFRESH", 0.0)
    with stages() as record:
        run(record)
    shown = capsys.readouterr()
    assert shown.out == "" and "3/3" in shown.err
    assert SAID["surface"] in shown.err
