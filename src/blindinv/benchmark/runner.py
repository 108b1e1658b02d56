"""Run methods on the cases of a task, storing what is done and passing over what is stored."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindinv.benchmark.cases import Batch, Case, Task
from blindinv.benchmark.records import Record, append, key, read, sha256, versions
from blindinv.benchmark.rows import Context, Row

Keep = Callable[[str, Case, Tensor, Tensor], None]


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Args:
        task: cases and figures.
        methods: rows by name, in the order of the table.
        context: models and settings.
        out: file of records.
        batch: cases side by side. Groups of cases are fixed, and a group is run whole, so that a resumed run
            gives what an uninterrupted one gives; a killed run loses the group in hand.
        redo: run also what is stored.
    """

    task: Task
    methods: dict[str, Row]
    context: Context
    out: Path
    batch: int = 4
    redo: bool = False

    def __post_init__(self) -> None:
        """Check the batch size."""
        if self.batch < 1:
            raise ValueError("batch must be 1 or more")

    @property
    def groups(self) -> list[Sequence[Case]]:
        """Cases that are run side by side."""
        return [self.task.cases[i : i + self.batch] for i in range(0, len(self.task.cases), self.batch)]

    def config(self, row: Row) -> dict[str, Any]:
        """The resolved settings of a row."""
        config = self.task.config | {"batch": self.batch, "device": self.context.device}
        if "prior" in row.needs:
            config["prior"] = self.context.prior_name or row.own_prior
        if row.settings:
            config |= {"steps": self.context.steps, "settings": row.settings}
        return config

    def hashes(self, row: Row, case: Case) -> dict[str, str]:
        """Of the image file and of the weights that a row uses, which are loaded for it."""
        return {"image": sha256(case.file)} | self.context.weights(row.needs, row.own_prior)


def run(plan: Plan, keep: Keep | None = None, wanted: Callable[[str, Case], bool] | None = None) -> Iterator[Record]:
    """Run all methods on all cases; yields the records in order, stored ones as they are.

    Args:
        plan: what is to be run.
        keep: called with method, case, image (1, 3, H, W) and kernel (1, 1, n, n) of what was run just now.
        wanted: (method, case) -> run it though it is stored, say because its picture is missing.
    """
    stored = {} if plan.redo else read(plan.out)
    for name, row in plan.methods.items():
        for group in plan.groups:
            known = [stored.get(_key(plan, name, row, case)) for case in group]
            missing = any(r is None or (wanted is not None and wanted(name, c)) for r, c in zip(known, group, strict=True))
            records = _measure(plan, name, row, group, keep) if missing else [r for r in known if r is not None]
            yield from records


def _key(plan: Plan, name: str, row: Row, case: Case) -> str:
    return key(plan.task.name, name, case.name, plan.context.seed, plan.config(row), plan.hashes(row, case))


def _measure(plan: Plan, name: str, row: Row, group: Sequence[Case], keep: Keep | None) -> list[Record]:
    """Run one group, store its records and return them."""
    batch = plan.task.batch(group, plan.context.device)
    images, kernels, seconds, cpu = _timed(row, batch, plan.context)
    figures = plan.task.score(batch.cpu(), images, kernels)
    config = plan.config(row)
    records = [
        Record(plan.task.name, name, case.name, plan.context.seed, config, plan.hashes(row, case), versions(), f, seconds, cpu)
        for case, f in zip(group, figures, strict=True)
    ]
    if keep is not None:
        for i, case in enumerate(group):
            keep(name, case, images[i : i + 1], kernels[i : i + 1])
    append(plan.out, records)
    return records


def _timed(row: Row, batch: Batch, context: Context) -> tuple[Tensor, Tensor, float, float]:
    """Images and kernels on the CPU, wall-clock and processor seconds per case."""
    wall, cpu = time.perf_counter(), time.process_time()
    images, kernels = row.run(batch, context)
    if batch.y.is_cuda:
        torch.cuda.synchronize(batch.y.device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return images.float().cpu(), kernels.float().cpu(), wall / len(batch.y), cpu / len(batch.y)
