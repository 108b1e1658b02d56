"""Samples as a file stores them, and turning them upright."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Raster:
    """Samples as stored: (H, W, C) with C = 1 grey, 2 grey + alpha, 3 colour, 4 colour + alpha; uint8, uint16 or float32.

    Attributes:
        samples: the array.
        orientation: EXIF orientation that is still to be applied, 1..8.
        exif: EXIF block with its orientation reset.
        icc: ICC profile that holds for the samples.
    """

    samples: np.ndarray
    orientation: int = 1
    exif: bytes = b""
    icc: bytes = b""


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1..8 (anything else counts as 1), to (H, W, C) samples."""
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples
