"""A contact sheet: a few cases in rows; blurred, each method, and the truth in columns, kernels in the corners."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor

from blindinv.benchmark.cases import Case
from blindinv.photo.pictures import kernel_picture, picture
from blindinv.training.loop import write_atomically

LARGEST = 1_000_000
SIDES = (256, 224, 192, 160, 128, 96, 64)
GAP, CAPTION, INK = 4, 16, (32, 32, 32)


@dataclass(frozen=True)
class Gallery:
    """Results that are kept to be shown, one file each, so that a resumed run has those of the first.

    Args:
        folder: of the pictures.
        cases: which are shown.
    """

    folder: Path
    cases: Sequence[Case]

    def _file(self, method: str, case: Case) -> Path:
        return self.folder / method / f"{Path(case.name).stem}.safetensors"

    def missing(self, method: str, case: Case) -> bool:
        """Whether the case is to be shown and its result is not there."""
        return case in self.cases and not self._file(method, case).exists()

    def keep(self, method: str, case: Case, image: Tensor, kernel: Tensor) -> None:
        """Store a result if it is to be shown: as tensors, and as PNG to look at."""
        if case not in self.cases:
            return
        path = self._file(method, case)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.with_suffix(".png"), lambda p: _panel(image, kernel, image.shape[-1]).save(p, "PNG"))
        tensors = {"image": image.contiguous(), "kernel": kernel.contiguous()}
        write_atomically(path, lambda p: save_file(tensors, p))

    def sheet(self, methods: Sequence[str], name: str = "sheet.png") -> Path:
        """Write the contact sheet of the stored results, a PNG below 1 MB.

        Args:
            methods: columns between blurred and truth; those with nothing stored are left out.
            name: of the file.
        """
        shown = [m for m in methods if m != "blurred" and not any(self.missing(m, c) for c in self.cases)]
        grid = [[_panel(c.y), *(self._stored(m, c) for m in shown), _panel(c.truth, c.kernel)] for c in self.cases]
        captions = ["blurred", *shown, "truth"]
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b""
        for side in SIDES:
            data = _encode(_arrange(grid, captions, side))
            if len(data) < LARGEST:
                break
        write_atomically(path, lambda p: p.write_bytes(data))
        return path

    def _stored(self, method: str, case: Case) -> Image.Image:
        tensors = load_file(self._file(method, case))
        return _panel(tensors["image"], tensors["kernel"])


def spread_out(cases: Sequence[Case], count: int = 3) -> list[Case]:
    """A few cases, evenly spaced."""
    index = torch.linspace(0, len(cases) - 1, min(count, len(cases))).round().int().tolist()
    return [cases[i] for i in index]


def _panel(image: Tensor, kernel: Tensor | None = None, side: int = 256) -> Image.Image:
    """A picture with its kernel, a quarter as wide, in the lower left corner."""
    panel = picture(image[:, :3].clamp(0, 1))
    panel = (
        panel if panel.width == side else panel.resize((side, round(side * panel.height / panel.width)), Image.Resampling.LANCZOS)
    )
    if kernel is not None:
        small = kernel_picture(kernel).resize((side // 4, side // 4), Image.Resampling.BOX)
        panel.paste(small.convert("RGB"), (0, panel.height - side // 4))
    return panel


def _arrange(grid: Sequence[Sequence[Image.Image]], captions: Sequence[str], side: int) -> Image.Image:
    scaled = [[p.resize((side, round(side * p.height / p.width)), Image.Resampling.LANCZOS) for p in line] for line in grid]
    width = len(captions) * (side + GAP) - GAP
    sheet = Image.new("RGB", (width, CAPTION + sum(line[0].height + GAP for line in scaled)), (255, 255, 255))
    draw, top = ImageDraw.Draw(sheet), CAPTION
    for column, caption in enumerate(captions):
        draw.text((column * (side + GAP) + 2, 2), caption, fill=INK, font=ImageFont.load_default())
    for line in scaled:
        for column, panel in enumerate(line):
            sheet.paste(panel, (column * (side + GAP), top))
        top += line[0].height + GAP
    return sheet


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
