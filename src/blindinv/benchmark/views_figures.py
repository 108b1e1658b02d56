"""Novel views from one, two and three pictures without poses, as pictures and as numbers (LatentDEM, figures 4 and 8)."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from blindinv.benchmark.records import Record
from blindinv.benchmark.table import by_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

LINES = {
    "one-view": "1 picture",
    "two-views": "2 pictures",
    "three-views": "3 pictures",
    "three-known": "3, known poses",
}
"""Rows that are drawn, and what they are called."""
EDGES = (20, 45, 70, 95, 120, 150, 180)
"""Of the bins of distance, degrees."""


def novel_views(records: Sequence[Record], figure: "Figure") -> None:
    """Objects with their pictures, the views from one, two and three of them, and the truth; below, PSNR and errors of poses."""
    rows = {of[0].method: {r.image: r for r in of} for of in by_row(records).values()}
    shown = [image for image, r in rows.get("nearest-input", {}).items() if r.kernels]
    told = {name: text for name, text in LINES.items() if name in rows}
    pairs = (len(shown) + 1) // 2
    heights = [max(0.1, pairs * (0.62 * (len(told) + 2) + 0.25)), 3.0]
    figure.set_size_inches(9.0, sum(heights))
    above, below = cast("tuple[SubFigure, SubFigure]", figure.subfigures(2, 1, height_ratios=heights))
    if shown:
        blocks = cast(np.ndarray, above.subfigures(pairs, 2, squeeze=False)).ravel()
        for block, image in zip(blocks, shown, strict=False):
            one_object(block, {name: of[image] for name, of in rows.items() if image in of}, told)
    left, right = below.subplots(1, 2)
    over_distance(left, {name: list(of.values()) for name, of in rows.items()}, told)
    pose_recall(right, {name: list(of.values()) for name, of in rows.items()})


def one_object(figure: "SubFigure", records: Mapping[str, Record], told: Mapping[str, str]) -> None:
    """Inputs, a line for each row, truth."""
    known = records["nearest-input"].kernels
    strips = {"pictures 1, 2, 3": known["inputs"]}
    strips |= {text: records[name].kernels["found"] for name, text in told.items() if name in records and records[name].kernels}
    strips |= {"truth": known["true"]}
    width = _decoded(known["true"]).shape[1]
    for axes, (text, data) in zip(figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips.items(), strict=True):
        row = _decoded(data)
        canvas = np.full((row.shape[0], width, 3), 255, np.uint8)
        canvas[:, : row.shape[1]] = row
        axes.imshow(canvas, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)


def over_distance(axes: "Axes", rows: Mapping[str, Sequence[Record]], told: Mapping[str, str]) -> None:
    """PSNR of the targets over their distance to picture 1."""
    for name, text in told.items():
        distance, psnr = (np.concatenate([r.curves[k] for r in rows[name]]) for k in ("distance", "psnr"))
        which = np.digitize(distance, EDGES)
        bins = [i for i in range(1, len(EDGES)) if (which == i).any()]
        middle = [(EDGES[i - 1] + EDGES[i]) / 2 for i in bins]
        axes.plot(middle, [psnr[which == i].mean() for i in bins], "--" if "known" in name else "-", marker="o", ms=3, label=text)
    if axes.lines:
        axes.legend(fontsize=7, frameon=False)
    _tidy(axes, "degrees from picture 1 to the target", "PSNR, dB")


def pose_recall(axes: "Axes", rows: Mapping[str, Sequence[Record]]) -> None:
    """Per cent of the poses that are so near or nearer."""
    degrees = np.linspace(0, 60, 121)
    for name, style, text in (
        ("two-views", "-", "2 pictures"),
        ("two-refined", ":", "2 pictures, and the M-step"),
        ("three-views", "--", "3 pictures"),
    ):
        errors = np.array([e for r in rows.get(name, []) for e in r.curves.get("pose_error", [])])
        if len(errors):
            axes.plot(degrees, 100 * (errors[None] <= degrees[:, None]).mean(1), style, label=text)
    axes.set_ylim(0, 102)
    if axes.lines:
        axes.legend(fontsize=7, frameon=False)
    _tidy(axes, "error of the pose, degrees", "poses within it, %")


def _decoded(data: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def _tidy(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
