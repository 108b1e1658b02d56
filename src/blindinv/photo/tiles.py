"""Large images in pieces: overlapping boxes, and weights that sum to one where they overlap."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor) -> Tensor:
        """The part of (..., H, W) inside the box."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


def tiles(height: int, width: int, size: int, overlap: int) -> list[Box]:
    """Boxes that cover a height x width image, evenly spaced, row by row.

    Args:
        height: of the image.
        width: of the image.
        size: side of a box, in pixels (less along a side of the image that is shorter).
        overlap: pixels that neighbours share at least, less than `size`.

    Raises:
        ValueError: overlap is negative or not less than size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"tiles of {size} pixels cannot overlap by {overlap}")
    rows, cols = _starts(height, size, overlap), _starts(width, size, overlap)
    return [Box(top, left, min(size, height), min(size, width)) for top in rows for left in cols]


def blend(boxes: list[Box], pieces: Iterable[Tensor], overlap: int) -> Tensor:
    """Put pieces together; between neighbours the weight changes over along a raised cosine at most `overlap` long.

    Args:
        boxes: from `tiles`.
        pieces: (B, C, box height, box width) each, in the order of the boxes; may be a generator, so that only one is held.
        overlap: as given to `tiles`.

    Returns:
        (B, C, H, W); equal pieces of one image give that image.
    """
    height, width = boxes[-1].top + boxes[-1].height, boxes[-1].left + boxes[-1].width
    rows = _weights(sorted({b.top for b in boxes}), boxes[0].height, overlap)
    cols = _weights(sorted({b.left for b in boxes}), boxes[0].width, overlap)
    out: Tensor | None = None
    for box, piece in zip(boxes, pieces, strict=True):
        if out is None:
            out = piece.new_zeros(*piece.shape[:2], height, width)
        weight = rows[box.top][:, None] * cols[box.left]
        box.cut(out).add_(piece * weight.to(piece))
    assert out is not None
    return out


def _starts(length: int, size: int, overlap: int) -> list[int]:
    if length <= size:
        return [0]
    count = math.ceil((length - overlap) / (size - overlap))
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _weights(starts: list[int], size: int, overlap: int) -> dict[int, Tensor]:
    """Weights of the tiles along one axis, by start: w_i = r_i - r_{i+1} with ramps r from 0 to 1, which telescopes to one."""
    positions = torch.arange(starts[-1] + size, dtype=torch.float64) + 0.5
    ramps = [torch.ones_like(positions)]
    for before, after in pairwise(starts):
        length = max(1, min(overlap, after - before, before + size - after))
        middle = (before + size + after) / 2
        u = ((positions - middle) / length + 0.5).clamp(0, 1)
        ramps.append(torch.sin(0.5 * math.pi * u).square())
    ramps.append(torch.zeros_like(positions))
    return {s: (ramps[i] - ramps[i + 1])[s : s + size] for i, s in enumerate(starts)}
