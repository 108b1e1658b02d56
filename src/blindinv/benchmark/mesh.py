"""Pose-free sparse-view 3D, surfaces: the table of `blindinv bench mesh`."""

from collections.abc import Callable, Sequence
from statistics import fmean

from blindinv.benchmark.bench import Bench, Goal, Results
from blindinv.benchmark.mesh_figures import meshes_side_by_side
from blindinv.benchmark.records import Record
from blindinv.benchmark.table import CPU_SECONDS, NONE, SECONDS, Column, mean

CHAMFER, F, TIME = 0.008, 0.99, 30.0
"""What is asked of the fit alone, from 36 true views of `spot`: at most, at least, at most so many seconds (on a CPU, of one)."""


def _where(own: bool, records: Sequence[Record]) -> list[Record]:
    """Those of procedural objects, or those of files."""
    return [r for r in records if r.image.startswith("blocks-") == own]


def _of(own: bool, figure: str, digits: int) -> Callable[[Sequence[Record]], str]:
    value = mean(figure, digits)
    return lambda records: value(_where(own, records))


def share(figure: str) -> Callable[[Sequence[Record]], str]:
    """How many records have a figure of 1."""

    def value(records: Sequence[Record]) -> str:
        values = [r.figures[figure] for r in records if figure in r.figures]
        return f"{sum(v == 1 for v in values)}/{len(values)}" if values else NONE

    return value


def _spot(results: Results) -> tuple[str, bool]:
    record = results.of["true-36"]["spot"]
    cpu = record.config["device"] == "cpu"
    chamfer, f, seconds = (record.figures[k] for k in ("chamfer", "f", "fit_cpu_seconds" if cpu else "fit_seconds"))
    text = f"{chamfer:.4f}, {f:.3f}, {seconds:.0f} s" + (" of one processor" if cpu else "")
    return text, chamfer <= CHAMFER and f >= F and seconds <= TIME


def _higher(method: str, other: str) -> Callable[[Results], tuple[str, bool]]:
    def reached(results: Results) -> tuple[str, bool]:
        a, b = map(fmean, results.values("f", method, other))
        return f"{a:.3f} against {b:.3f}", a > b

    return reached


BENCHES = {
    "mesh": Bench(
        "Meshes from pictures without poses",
        "LatentDEM, section 4.3, figures 4 and 9 (the paper shows meshes of 20 objects and reports no numbers)",
        lambda ask: {},  # its rows are functions of objects: `mesh_rows`
        (
            Column("Chamfer", mean("chamfer", 4)),
            Column("F@0.02", mean("f", 3)),
            Column("IoU", mean("iou", 3)),
            Column("watertight", share("watertight")),
            Column("no mesh", share("missing")),
            Column("procedural: Chamfer", _of(True, "chamfer", 4)),
            Column("F@0.02, procedural", _of(True, "f", 3)),
            Column("files: Chamfer", _of(False, "chamfer", 4)),
            Column("F@0.02, files", _of(False, "f", 3)),
            Column("pose, mean °", mean("pose_error", 1)),
            Column("fit, s", mean("fit_seconds", 1)),
            SECONDS,
            CPU_SECONDS,
        ),
        figure=meshes_side_by_side,
        goals=(
            Goal("spot from 36 true views: Chamfer, F@0.02, time", f"≤ {CHAMFER}, ≥ {F}, ≤ {TIME:.0f} s", _spot),
            Goal("F@0.02, two pictures above one", "higher", _higher("two-views", "one-view")),
            Goal("F@0.02, three pictures above two", "higher", _higher("three-views", "two-views")),
        ),
        protocol="mesh",
    )
}
