"""Run methods on the cases of a task, storing what is done and passing over what is stored."""

import base64
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindinv.benchmark.cases import Batch, Case, Figures, Task
from blindinv.benchmark.records import Record, append, key, read, sha256, versions
from blindinv.benchmark.rows import Context, Row
from blindinv.photo.pictures import kernel_picture
from blindinv.precision import dtype_name, quick_dtype
from blindinv.solve import Progress

Keep = Callable[[str, Case, Tensor, Tensor], None]
Watch = Callable[[Batch, Progress], list[Figures]]


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
        watch: figures of each sample at each full step of a method, to be stored as curves.
        kernels: store pictures of the kernels.
    """

    task: Task
    methods: dict[str, Row]
    context: Context
    out: Path
    batch: int = 1
    redo: bool = False
    watch: Watch | None = None
    kernels: bool = False

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
        if row.needs:
            config["precision"] = dtype_name(quick_dtype(self.context.device))
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
    if row.needs:
        plan.context.models(row)  # loaded before the clock starts
    with _watching(plan, batch) as curves:
        images, kernels, seconds, cpu = _timed(row, batch, plan.context)
    figures = plan.task.score(batch.cpu(), images, kernels)
    config, seed = plan.config(row), plan.context.seed
    records = []
    for i, case in enumerate(group):
        small = {"found": _png(kernels[i : i + 1]), "true": _png(case.kernel)} if plan.kernels else {}
        hashes = plan.hashes(row, case)
        records.append(
            Record(plan.task.name, name, case.name, seed, config, hashes, versions(), figures[i], seconds, cpu, curves[i], small)
        )
    if keep is not None:
        for i, case in enumerate(group):
            keep(name, case, images[i : i + 1], kernels[i : i + 1])
    append(plan.out, records)
    return records


@contextmanager
def _watching(plan: Plan, batch: Batch) -> Iterator[list[dict[str, list[float]]]]:
    """Let the plan's watch see each full step; yields the curves of each sample, which fill as the method runs."""
    curves: list[dict[str, list[float]]] = [{} for _ in batch.y]
    before, watch = plan.context.record, plan.watch
    if watch is None:
        yield curves
        return

    def record(p: Progress) -> None:
        if before is not None:
            before(p)
        if p.full:
            for curve, figures in zip(curves, watch(batch, p), strict=True):
                for k, v in (figures | {"t": float(p.t)}).items():
                    curve.setdefault(k, []).append(v)

    plan.context.record = record
    try:
        yield curves
    finally:
        plan.context.record = before


def _png(kernel: Tensor) -> str:
    buffer = io.BytesIO()
    kernel_picture(kernel, side=1).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _timed(row: Row, batch: Batch, context: Context) -> tuple[Tensor, Tensor, float, float]:
    """Images and kernels on the CPU, wall-clock and processor seconds per case."""
    wall, cpu = time.perf_counter(), time.process_time()
    images, kernels = row.run(batch, context)
    if batch.y.is_cuda:
        torch.cuda.synchronize(batch.y.device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return images.float().cpu(), kernels.float().cpu(), wall / len(batch.y), cpu / len(batch.y)
