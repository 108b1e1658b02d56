"""What a benchmark asks: observations whose truth is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blindinv.problem import Deblurring

Figures = dict[str, float]


@dataclass(frozen=True, eq=False)
class Case:
    """One observation and its truth.

    Attributes:
        name: unique in its task.
        file: whose bytes identify the case.
        y: (1, 3, H, W) in [0, 1].
        truth: (1, 3, H, W) in [0, 1].
        kernel: (1, 1, n, n), the true one, non-negative, sum 1.
        sigma: noise level that the methods are told, on [0, 1].
    """

    name: str
    file: Path
    y: Tensor
    truth: Tensor
    kernel: Tensor
    sigma: float


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases side by side, on a device.

    Attributes:
        y: (B, 3, H, W) in [0, 1].
        truth: (B, 3, H, W) in [0, 1].
        kernel: (B, 1, n, n), the true ones.
        sigma: (B, 1, 1, 1) on [0, 1].
        kernel_size: of the kernels to be found.
        circular: whether borders are periodic.
    """

    y: Tensor
    truth: Tensor
    kernel: Tensor
    sigma: Tensor
    kernel_size: int
    circular: bool

    def problem(self) -> Deblurring:
        """The deblurring problem with the true kernel."""
        return Deblurring.of(self.y, self.sigma, self.kernel_size, self.circular, self.kernel)

    def cpu(self) -> "Batch":
        """The same on the CPU."""
        y, truth, kernel, sigma = (t.cpu() for t in (self.y, self.truth, self.kernel, self.sigma))
        return Batch(y, truth, kernel, sigma, self.kernel_size, self.circular)


@dataclass(frozen=True, eq=False)
class Task:
    """A protocol: its cases and its figures.

    Attributes:
        name: such as "photos-64".
        cases: in order.
        kernel_size: that the methods are told.
        circular: whether borders are periodic.
        score: (batch, images (B, 3, H, W), kernels (B, 1, n, n)), all on the CPU -> figures of each sample.
        config: what else decides the result; goes into every record.
    """

    name: str
    cases: Sequence[Case]
    kernel_size: int
    circular: bool
    score: Callable[[Batch, Tensor, Tensor], list[Figures]]
    config: dict[str, Any]

    def batch(self, cases: Sequence[Case], device: str) -> Batch:
        """Cases of one size as a batch on a device."""
        y, truth, kernel = (torch.cat(part).to(device) for part in zip(*((c.y, c.truth, c.kernel) for c in cases), strict=True))
        sigma = torch.tensor([c.sigma for c in cases], device=device).view(-1, 1, 1, 1)
        return Batch(y, truth, kernel, sigma, self.kernel_size, self.circular)


def per_sample(**figures: Tensor) -> list[Figures]:
    """Figures (B,) by name -> a dictionary for each sample."""
    columns = {name: values.tolist() for name, values in figures.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def to_tensor(image: Image.Image) -> Tensor:
    """An 8-bit picture as (1, 3, H, W) in [0, 1]; grey is repeated in three channels."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
