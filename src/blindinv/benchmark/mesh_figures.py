"""Meshes from one, two and three pictures without poses beside the truth (LatentDEM, figure 9)."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from blindinv.benchmark.records import Record
from blindinv.benchmark.table import by_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {
    "inputs": "pictures 1, 2, 3",
    "one-view": "from 1",
    "two-views": "from 2",
    "three-views": "from 3",
    "three-known": "from 3, known poses",
    "true-36": "from 36 true views",
    "true": "truth",
}
"""Of the figure, and what they are called; those that were not run are left out."""


def meshes_side_by_side(records: Sequence[Record], figure: "Figure") -> None:
    """A line for each object: its pictures, its meshes from three sides, the truth."""
    rows = {of[0].method: {r.image: r for r in of} for of in by_row(records).values()}
    base = next((of for of in rows.values() if any("true" in r.kernels for r in of.values())), {})
    images = [image for image, r in base.items() if "true" in r.kernels]
    columns = {k: v for k, v in COLUMNS.items() if k in ("inputs", "true") or k in rows}
    figure.set_size_inches(2.0 * len(columns), 0.72 * max(1, len(images)) + 0.3)
    panels = figure.subplots(max(1, len(images)), len(columns), squeeze=False)
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, image in zip(panels, images, strict=False):
        for axes, name in zip(line, columns, strict=True):
            record = base[image] if name in ("inputs", "true") else rows[name].get(image)
            data = None if record is None else record.kernels.get(name if name in ("inputs", "true") else "found")
            if data is not None:
                axes.imshow(np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
        line[0].set_ylabel(image, rotation=0, ha="right", va="center", fontsize=8)
    for axes, text in zip(panels[0], columns.values(), strict=True):
        axes.set_title(text, fontsize=8)
