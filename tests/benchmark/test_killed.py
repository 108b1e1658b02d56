"""A run that is killed loses at most the picture in hand."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor

from blindinv.benchmark.cases import Batch, Case, Task, per_sample
from blindinv.benchmark.records import read
from blindinv.benchmark.rows import Context, Row
from blindinv.benchmark.runner import Plan, run
from blindinv.kernels.measure import delta
from blindinv.metrics import psnr
from blindinv.protocols import generators, randn

PICTURES = 6


def bench(folder: Path, pause: float, out: str) -> None:
    cases = []
    for i in range(PICTURES):
        file, truth = folder / f"{i}.txt", torch.full((1, 3, 16, 16), i / PICTURES)
        file.write_text(str(i))
        cases.append(Case(file.name, file, truth + 0.1, truth, delta(9), 0.02))

    def method(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        with (folder / f"calls of {out}").open("a") as f:
            f.write("x")
        time.sleep(pause)
        return batch.y + 0.1 * randn(tuple(batch.y.shape), generators(context.seed, 1)), delta(9)

    task = Task("tiny", cases, 9, True, lambda b, x, k: per_sample(psnr=psnr(x, b.truth)), {})
    list(run(Plan(task, {"row": Row(method)}, Context(), folder / out)))


def start(folder: Path, pause: float, out: str) -> "multiprocessing.context.ForkProcess":
    process = multiprocessing.get_context("fork").Process(target=bench, args=(folder, pause, out))
    process.start()
    return process


def test_kill_and_restart(tmp_path: Path):
    process = start(tmp_path, 0.3, "killed.jsonl")
    deadline = time.monotonic() + 60
    while len(read(tmp_path / "killed.jsonl")) < PICTURES // 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    stored = read(tmp_path / "killed.jsonl")
    assert PICTURES // 2 <= len(stored) < PICTURES
    for out in ("killed.jsonl", "whole.jsonl"):
        process = start(tmp_path, 0, out)
        process.join()
        assert process.exitcode == 0
    after, whole = read(tmp_path / "killed.jsonl"), read(tmp_path / "whole.jsonl")
    assert {k: after[k] for k in stored} == stored
    assert len((tmp_path / "calls of killed.jsonl").read_text()) <= PICTURES + 1, "more than the picture in hand was run twice"
    assert {k: r.figures for k, r in after.items()} == {k: r.figures for k, r in whole.items()} and len(whole) == PICTURES
