"""Pose-free sparse-view 3D, pictures and poses: the table of `blindinv bench views`."""

from collections.abc import Callable, Sequence
from statistics import median

from blindinv.benchmark.bench import Bench, Goal, Results, above
from blindinv.benchmark.records import Record
from blindinv.benchmark.table import CPU_SECONDS, NONE, SECONDS, Column, mean
from blindinv.benchmark.views_cases import recall
from blindinv.benchmark.views_figures import novel_views

MEDIAN, RECALL, GAIN, LOSS = 10.0, 80.0, 2.0, 1.0
"""What is asked: degrees, per cent within 15 degrees, dB of a second view at far targets, dB of wrong poses."""


def all_errors(records: Sequence[Record], name: str = "pose_error") -> list[float]:
    """Degrees, of all pictures of unknown pose."""
    return [e for r in records for e in r.curves.get(name, [])]


def median_error(name: str) -> Callable[[Sequence[Record]], str]:
    """The median error of the poses."""

    def value(records: Sequence[Record]) -> str:
        errors = all_errors(records, name)
        return f"{median(errors):.1f}" if errors else NONE

    return value


def recalls(records: Sequence[Record]) -> str:
    """Per cent of the poses within 5, 10, 15 and 30 degrees."""
    errors = all_errors(records)
    return " / ".join(f"{recall(errors, d):.0f}" for d in (5, 10, 15, 30)) if errors else NONE


def _median_below(method: str, most: float) -> Callable[[Results], tuple[str, bool]]:
    def reached(results: Results) -> tuple[str, bool]:
        value = median(all_errors(list(results.of[method].values())))
        return f"{value:.1f} degrees", value < most

    return reached


def _recall_above(method: str, degrees: float, least: float) -> Callable[[Results], tuple[str, bool]]:
    def reached(results: Results) -> tuple[str, bool]:
        value = recall(all_errors(list(results.of[method].values())), degrees)
        return f"{value:.0f} %", value > least

    return reached


def _gap(low: float) -> Callable[[Sequence[Record]], str]:
    """The median error of the poses of objects whose pictures 1 and 2 are so far apart."""

    def value(records: Sequence[Record]) -> str:
        errors = [r.curves["pose_error"][0] for r in records if r.figures["gap_low"] == low and "pose_error" in r.curves]
        return f"{median(errors):.1f}" if errors else NONE

    return value


BENCHES = {
    "views": Bench(
        "Novel views and poses without known poses",
        "LatentDEM, section 4.3 and figures 4 and 8 (the paper shows pictures of 20 objects and reports no numbers)",
        lambda ask: {},  # its rows are functions of objects: `views_rows.ROWS`
        (
            Column("PSNR", mean("psnr", 2)),
            Column("SSIM", mean("ssim", 3)),
            Column("PSNR in box", mean("psnr_box", 2)),
            Column("far: PSNR", mean("psnr_far", 2)),
            Column("far: SSIM", mean("ssim_far", 3)),
            Column("far: PSNR in box", mean("psnr_box_far", 2)),
            Column("pose, median °", median_error("pose_error")),
            Column("after search, °", median_error("found_error")),
            Column("within 5 / 10 / 15 / 30°, %", recalls),
            Column("gap 30-60", _gap(30)),
            Column("60-120", _gap(60)),
            Column("120-180", _gap(120)),
            SECONDS,
            CPU_SECONDS,
        ),
        figure=novel_views,
        goals=(
            Goal("two views above one, far targets", "2 dB", above("psnr_far", "two-views", "one-view", GAIN)),
            Goal("two views of known pose above one, far targets", "above", above("psnr_far", "two-known", "one-view", 0.01)),
            Goal("known poses above another object's", "1 dB", above("psnr", "two-known", "two-shuffled", LOSS)),
            Goal("error of the pose, median", "below 10 degrees", _median_below("two-views", MEDIAN)),
            Goal("poses within 15 degrees", "above 80 %", _recall_above("two-views", 15, RECALL)),
            Goal("three views of known pose above two", "above", above("psnr", "three-known", "two-known", 0.01)),
            Goal("three views above two", "above", above("psnr", "three-views", "two-views", 0.01)),
        ),
        protocol="views",
    )
}
