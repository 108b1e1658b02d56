"""Protocol Levin: real camera shake, by Levin et al. ("Understanding and evaluating blind deconvolution algorithms", 2009).

Grey 255 x 255 pictures, borders free, noise level estimated from each picture. PSNR after the best shift within
+-10 pixels in steps of 0.25, without 15 pixels on each side; MNC with quarter-pixel shifts.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blindinv.baselines.sparse import sparse_deconvolution
from blindinv.benchmark.cases import Batch, Case, Figures, Task, per_sample, to_tensor
from blindinv.kernels.measure import normalize, resize_support
from blindinv.metrics import levin_psnr, mnc
from blindinv.operators.convolution import CircularConvolution

NAME = re.compile(r"im(\d+)_kernel(\d+)_img\.png")
VALID = 30


def levin_task(folder: Path, *, kernel_size: int = 31, limit: int | None = None) -> Task:
    """The protocol on the pictures of a folder.

    Args:
        folder: holds im{i}_kernel{j}_img.png (blurred) and gt/im{i}.png, gt/kernel{j}.png.
        kernel_size: that the methods are told, 9 to 129.
        limit: only the first so many.

    Raises:
        ValueError: files are missing or cannot be read, or the kernel size is out of range.
    """
    if not 9 <= kernel_size <= 129 or (limit is not None and limit < 1):
        raise ValueError("the kernel size must be 9 to 129, and limit must be 1 or more")
    found = sorted((int(m[1]), int(m[2]), p) for p in folder.glob("*.png") if (m := NAME.fullmatch(p.name)))
    if not found:
        raise ValueError(f"{folder} is not a folder with pictures called im1_kernel1_img.png, ...")
    try:
        cases = [_case(folder, i, j, file) for i, j, file in found[:limit]]
    except OSError as error:
        raise ValueError(f"{error.filename or folder} is missing or cannot be read as a picture") from error
    size = max(kernel_size, *(c.kernel.shape[-1] for c in cases))
    cases = [Case(c.name, c.file, c.y, c.truth, resize_support(c.kernel, size), c.sigma) for c in cases]
    config = {"kernel_size": kernel_size, "sigma": "auto", "boundary": "free", "error_ratio": "sparse"}
    return Task("levin", cases, kernel_size, False, Score(), config)


def _case(folder: Path, i: int, j: int, file: Path) -> Case:
    from blindinv.photo.noise import estimate_sigma

    y, truth = _read(file), _read(folder / "gt" / f"im{i}.png")
    if y.shape != truth.shape:
        raise ValueError(f"{file} and gt/im{i}.png differ in size")
    with Image.open(folder / "gt" / f"kernel{j}.png") as image:
        stored = torch.from_numpy(np.array(image.convert("L"), dtype=np.float32))[None, None]
    kernel = turn(normalize(stored), y[:, :1], truth[:, :1])
    return Case(f"im{i}_kernel{j}", file, y, truth, kernel, float(estimate_sigma(y)))


def _read(file: Path) -> Tensor:
    with Image.open(file) as image:
        return to_tensor(image)


def turn(k: Tensor, y: Tensor, truth: Tensor) -> Tensor:
    """The kernel or its 180 degree rotation, whichever makes the observation from the truth.

    Some kernels are stored as correlation kernels. Both are tried: |y - k * x| on the pixels that no border
    reaches, after the best shift in quarter pixels.
    """
    flipped = k.flip(-2, -1)
    blurred = torch.cat([CircularConvolution()(truth, q) for q in (k, flipped)])
    fit = levin_psnr(blurred, y.expand(2, -1, -1, -1), radius=10, crop=VALID)
    return flipped if fit[1] > fit[0] else k


@dataclass(frozen=True)
class Score:
    """PSNR of the mean over the colours (the pictures are grey), error ratio, and MNC of the kernel.

    The error ratio (Levin et al. 2009) is the squared error over that of the sparse deconvolution with the true kernel,
    both after their best shifts. That is made once for each picture.
    """

    references: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, batch: Batch, images: Tensor, kernels: Tensor) -> list[Figures]:
        """Figures of each sample."""
        truth = batch.truth[:, :1]
        psnr, reference = levin_psnr(images.mean(1, keepdim=True), truth), self._reference(batch)
        ratio = 10 ** ((reference - psnr) / 10)
        return per_sample(psnr_shift=psnr, error_ratio=ratio, mnc=mnc(kernels, batch.kernel, upsample=4))

    def _reference(self, batch: Batch) -> Tensor:
        name = hashlib.sha256(batch.y.numpy().tobytes() + batch.kernel.numpy().tobytes()).hexdigest()
        if name not in self.references:
            grey = sparse_deconvolution(batch.problem()).mean(1, keepdim=True)
            self.references[name] = levin_psnr(grey, batch.truth[:, :1])
        return self.references[name]
