"""Blur kernels as files: .npy arrays and grey pictures."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blindinv.photo.errors import PhotoError
from blindinv.photo.read import read_photo

SMALLEST, LARGEST = 9, 129
RIGHT = f"a kernel is square, {SMALLEST} to {LARGEST} pixels wide, not negative, with a sum above zero"


def read_kernel(path: Path | str) -> Tensor:
    """Read a blur kernel and scale it to the sum 1.

    Args:
        path: a .npy array, (n, n) or with leading axes of length 1, or a grey .png.

    Returns:
        (1, 1, n, n) float32.

    Raises:
        PhotoError: there is no such file or it is not a kernel.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npy", ".png"):
        raise PhotoError(f"{path}: a kernel is read from a .npy or .png file")
    values = _load_npy(path) if path.suffix.lower() == ".npy" else read_photo(path).pixels.mean(1)[0].numpy()
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    shape = "x".join(map(str, values.shape)) or "a single number"
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not SMALLEST <= len(values) <= LARGEST:
        raise PhotoError(f"{path}: the array is {shape}; {RIGHT}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise PhotoError(f"{path}: has values that are NaN or infinite; {RIGHT}")
    if values.min() < 0:
        raise PhotoError(f"{path}: has negative values, down to {values.min():.3g}; {RIGHT}")
    if values.sum() <= 0:
        raise PhotoError(f"{path}: all values are zero; {RIGHT}")
    return torch.from_numpy((values / values.sum()).astype(np.float32))[None, None]


def _load_npy(path: Path) -> np.ndarray:
    """Never unpickles; maps the file, so that a header cannot ask for more memory than there is file."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: there is no such file") from error
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise PhotoError(f"{path}: not a plain .npy array of numbers (pickled objects are refused); {RIGHT}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif":
        raise PhotoError(f"{path}: not a plain .npy array of real numbers; {RIGHT}")
    return values
