"""The blind deblurring problem and its result, as values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from blindinv.operators.boundary import is_circular
from blindinv.operators.convolution import CircularConvolution, Convolution, FreeConvolution
from blindinv.operators.noise import level, poisson_sigma
from blindinv.protocols import generators
from blindinv.solve import Progress

MIN_SIGMA = 1e-4


@dataclass(frozen=True)
class Deblurring:
    """y = k * x + n with unknown x, unknown or known k.

    Args:
        y: (B, 3, H, W) observations in [0, 1].
        sigma: (B, 1, 1, 1) noise level on [0, 1], or (B, 3, H, W) where it differs from pixel to pixel (Poisson noise).
        kernel_size: n of the kernel (n, n), 9 to 129.
        A: boundary model.
        kernel: (B, 1, n, n) if it is known.
        rng: one generator per sample.
    """

    y: Tensor
    sigma: Tensor
    kernel_size: int
    A: Convolution
    kernel: Tensor | None = None
    rng: list[torch.Generator] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        y: Tensor,
        sigma: float | Tensor,
        kernel_size: int = 64,
        circular: bool | None = None,
        kernel: Tensor | None = None,
        seed: int = 0,
        samples: int = 1,
        photons: float | None = None,
    ) -> "Deblurring":
        """Checked and completed: borders are detected if not given, each observation is repeated `samples` times.

        Args:
            y: (B, 3, H, W) observations in [0, 1].
            sigma: Gaussian noise level on [0, 1]: a number, (B,) or as in the class.
            kernel_size: n of the kernel.
            circular: periodic borders; None: detected.
            kernel: (1 or B, 1, n, n) if it is known.
            seed: of all random numbers.
            samples: posterior samples of each observation.
            photons: Poisson noise, with so many photons at white, is added to the Gaussian one (None: there is none).

        Raises:
            ValueError: shapes, values or sizes that cannot be a deblurring problem.
        """
        if y.ndim != 4 or y.shape[1] != 3:
            raise ValueError(f"y must be (B, 3, H, W), got {tuple(y.shape)}")
        if not torch.isfinite(y).all():
            raise ValueError("y has values that are not finite")
        if kernel is not None:
            kernel_size = kernel.shape[-1]
            kernel = kernel.to(y).expand(len(y), 1, -1, -1).repeat_interleave(samples, 0)
        if not 9 <= kernel_size <= 129:
            raise ValueError(f"kernel size {kernel_size} is outside 9..129")
        if min(y.shape[-2:]) <= kernel_size:
            raise ValueError(f"an image of {y.shape[-1]}x{y.shape[-2]} is too small for a {kernel_size}x{kernel_size} kernel")
        noise = _noise(y, sigma, photons)
        circular = is_circular(y) and all(n % 16 == 0 for n in y.shape[-2:]) if circular is None else circular
        if circular and any(n % 16 for n in y.shape[-2:]):
            raise ValueError("circular borders need a height and width that are multiples of 16; use free borders")
        y, noise = y.repeat_interleave(samples, 0), noise.repeat_interleave(samples, 0)
        A: Convolution = CircularConvolution() if circular else FreeConvolution()
        return cls(y, noise, kernel_size, A, kernel, generators(seed, len(y), y.device))

    @property
    def canvas(self) -> tuple[int, int]:
        """Size of x, (H', W')."""
        return self.A.canvas((self.y.shape[-2], self.y.shape[-1]), self.kernel_size)

    @property
    def circular(self) -> bool:
        """Whether borders are periodic."""
        return isinstance(self.A, CircularConvolution)

    def with_kernel(self, k: Tensor) -> "Deblurring":
        """The same problem with a known kernel (B, 1, n, n)."""
        return replace(self, kernel=k)

    def frame(self, x: Tensor) -> Tensor:
        """The part of a canvas that y shows."""
        return self.A.frame(x, (self.y.shape[-2], self.y.shape[-1]))


def _noise(y: Tensor, sigma: float | Tensor, photons: float | None) -> Tensor:
    """The noise level of y, (B, 1, 1, 1) or a map."""
    noise = torch.as_tensor(sigma, dtype=y.dtype, device=y.device)
    noise = noise.expand_as(y) if noise.shape[-2:] == y.shape[-2:] else noise.reshape(-1, 1, 1, 1).expand(len(y), 1, 1, 1)
    if not (torch.isfinite(noise) & (noise >= 0)).all():
        raise ValueError("sigma must be a finite number and not negative")
    noise = noise if photons is None else poisson_sigma(y, photons, noise)
    return noise.clamp(min=MIN_SIGMA)  # every formula divides by it


@dataclass(frozen=True)
class Result:
    """What a solver returns.

    Attributes:
        image: (B, 3, H, W) in [0, 1], cut to the frame.
        kernel: (B, 1, n, n), non-negative, sum 1.
        sigma: (B, 1, 1, 1) noise level that was used, on [0, 1]; under Poisson noise its root mean square.
        history: what the caller's `record` returned at each step.
    """

    image: Tensor
    kernel: Tensor
    sigma: Tensor
    history: list[Any]


def run(problem: Deblurring, steps: Iterator[Progress], record: Callable[[Progress], Any] | None = None) -> Result:
    """Exhaust a solver.

    Args:
        record: called after every step; its values (None left out) become the history. Draw progress bars here.
    """
    history, last = [], None
    for last in steps:
        value = None if record is None else record(last)
        if value is not None:
            history.append(value)
    assert last is not None and last.x is not None
    return Result(problem.frame(last.x).clamp(0, 1), last.phi, level(problem.sigma), history)
