"""The figures of the docs, drawn from stored records alone by matplotlib, which only they need."""

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from blindinv.benchmark.records import Record, pack
from blindinv.benchmark.table import by_row
from blindinv.training.loop import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEED = "figures need matplotlib: pip install 'blindinv[docs]'"
WIDTH, HEIGHT, DPI = 8.0, 3.6, 110
MARK = "blindinv records"


def write_figure(path: Path, draw: "Callable[[Sequence[Record], Figure], None]", records: Sequence[Record]) -> bool:
    """A PNG of records, written whole or not at all, and only if they are not those of the picture that is there.

    Returns:
        whether it was written.

    Raises:
        ImportError: matplotlib is missing.
    """
    mark = hashlib.sha256(f"{draw.__qualname__}\n{pack(records)}".encode()).hexdigest()
    if _mark(path) == mark:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(NEED) from error
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    draw(records, figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda p: figure.savefig(p, format="png", metadata={MARK: mark, "Software": None}))
    return True


def _mark(path: Path) -> str | None:
    if not path.exists():
        return None
    with Image.open(path) as image:
        return getattr(image, "text", {}).get(MARK)


def _tidy(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def time_and_quality(records: Sequence[Record], figure: "Figure") -> None:
    """PSNR over seconds, a point for each row; the legend lists them from best to worst."""
    axes, points = figure.subplots(), []
    for name, of in by_row(records).items():
        seconds, psnr = fmean(r.cpu_seconds for r in of), fmean(r.figures["psnr_shift"] for r in of)
        if seconds > 1e-3:
            points.append((psnr, seconds, name))
    for i, (psnr, seconds, name) in enumerate(sorted(points, reverse=True)):
        axes.plot(seconds, psnr, "os^D"[i // 10 % 4], label=name)
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.1)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    _tidy(axes, "processor seconds per photo", "PSNR after the best shift, dB")


def kernel_curves(records: Sequence[Record], figure: "Figure") -> None:
    """Kernel error and MNC over t: mean and one standard deviation over the photos (LatentDEM, figure 5)."""
    panels = figure.subplots(1, 2)
    for axes, key, title in zip(panels, ("kernel_mse", "mnc"), ("kernel MSE", "kernel MNC"), strict=True):
        for name, of in by_row(records).items():
            t, values = np.array(of[0].curves["t"]), np.array([r.curves[key] for r in of])
            middle, spread = values.mean(0), values.std(0)
            axes.plot(t, middle, label=name)
            axes.fill_between(t, middle - spread, middle + spread, alpha=0.2, linewidth=0)
        axes.axvline(600, linestyle=":", color="grey", label="annealing ends")
        axes.set_xlim(1000, 0)
        _tidy(axes, "t", title)
    panels[0].legend(fontsize=8, frameon=False)


def over_weights(records: Sequence[Record], figure: "Figure") -> None:
    """PSNR and MNC over the weight of each norm of the kernel; the dashed line is without."""
    panels, table = figure.subplots(1, 2), {of[0].method: of for of in by_row(records).values()}
    for axes, key, title in zip(panels, ("psnr_shift", "mnc"), ("PSNR after the best shift, dB", "kernel MNC"), strict=True):
        for norm in dict.fromkeys(name.split("-")[0] for name in table if "-" in name):
            points = sorted((float(n.partition("-")[2]), of) for n, of in table.items() if n.startswith(norm + "-"))
            axes.plot([w for w, _ in points], [fmean(r.figures[key] for r in of) for _, of in points], "o-", label=norm)
        if "none" in table:
            axes.axhline(fmean(r.figures[key] for r in table["none"]), linestyle="--", color="grey", label="none")
        axes.set_xscale("log")
        _tidy(axes, "weight of the norm", title)
    panels[0].legend(fontsize=8, frameon=False)


def error_ratios(records: Sequence[Record], figure: "Figure") -> None:
    """Share of pictures whose error ratio is below r (Levin et al. 2009)."""
    axes, r = figure.subplots(), np.linspace(0.8, 5, 200)
    for name, of in by_row(records).items():
        ratios = np.array([record.figures["error_ratio"] for record in of if "error_ratio" in record.figures])
        if len(ratios) and name != "blurred":
            axes.plot(r, 100 * (ratios[None] <= r[:, None]).mean(1), label=name, linestyle="--" if "-true" in name else "-")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _tidy(axes, "error ratio", "pictures below it, %")


def kernels_side_by_side(records: Sequence[Record], figure: "Figure") -> None:
    """A column of kernels for each photo: the true one, then what each row found."""
    table = {name: {r.image: r for r in of} for name, of in by_row(records).items() if not of[0].method.endswith("-true")}
    images = [i for i in next(iter(table.values())) if all(i in of for of in table.values())]
    lines = {"true": "true"} | dict.fromkeys(table, "found")
    figure.set_size_inches(1.1 * len(images) + 2.2, 1.15 * len(lines))
    panels = figure.subplots(len(lines), len(images), squeeze=False)
    for axes_of_line, (name, which) in zip(panels, lines.items(), strict=True):
        of = table.get(name, next(iter(table.values())))
        for axes, image in zip(axes_of_line, images, strict=True):
            data = base64.b64decode(of[image].kernels[which])
            axes.imshow(np.array(Image.open(io.BytesIO(data))), cmap="inferno", interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        axes_of_line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
