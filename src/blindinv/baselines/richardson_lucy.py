"""Blind Richardson-Lucy: multiplicative updates of kernel and image in turn, by `deepinv`'s iteration.

    k <- k / (x~ * 1) . (x~ * (y / (k * x))), normalised;    x <- x . (k~ * (y / (k * x)))

with ~ a reflection: expectation maximisation for Poisson noise, without priors. What it may do is limited by stopping it.

Reference: Fish, Brinicombe, Pike & Walker, "Blind deconvolution by means of the Richardson-Lucy algorithm", JOSA A 1995.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindinv.kernels.measure import normalize
from blindinv.operators.boundary import embed, harmonic_fill
from blindinv.problem import Deblurring
from blindinv.solve import Progress

DARKEST = 1e-3  # Poisson means are positive; noise is not


@dataclass(frozen=True)
class RichardsonLucy:
    """Settings.

    Args:
        iterations: kernel and image updates.
        x_steps: image updates in each.
        k_steps: kernel updates in each.
        width: standard deviation of the first kernel, a Gaussian, over the kernel's size; a uniform one is a fixed
            point that takes long to leave.
    """

    iterations: int = 50
    x_steps: int = 1
    k_steps: int = 5
    width: float = 0.1


def _first(problem: Deblurring, width: float) -> Tensor:
    n = problem.kernel_size
    at = torch.arange(n, device=problem.y.device, dtype=problem.y.dtype) - n // 2
    line = (-0.5 * (at / (width * n)).square()).exp()
    return normalize((line[:, None] * line).expand(len(problem.y), 1, n, n))


@torch.no_grad()
def richardson_lucy(problem: Deblurring, settings: RichardsonLucy = RichardsonLucy()) -> Iterator[Progress]:
    """Recover image and kernel; yields after each iteration. A known kernel stays as it is.

    Outside the frame, where borders are free, y is what the current estimates predict: expectation maximisation of
    pixels that were not observed.

    Args:
        problem: what to deblur; below 1e-3, y counts as 1e-3. The noise level is not used.
        settings: see `RichardsonLucy`.
    """
    from deepinv.optim.optim_iterators import BlindRLIteration
    from deepinv.optim.prior import ZeroPrior
    from deepinv.physics import Blur

    canvas, mask = embed(problem.y, problem.canvas)
    y = (canvas if problem.circular else harmonic_fill(canvas, mask)).clamp(min=DARKEST)
    x, k = y, problem.kernel if problem.kernel is not None else _first(problem, settings.width)
    physics = Blur(filter=k, padding="circular", use_fft=True, device=x.device)
    step: Any = BlindRLIteration(use_fft=True, eps=1e-8)
    steps = {"x_steps": settings.x_steps, "k_steps": settings.k_steps if problem.kernel is None else 0}
    for i in range(settings.iterations):
        seen = y if problem.circular else torch.where(mask > 0, y, problem.A(x, k).clamp(min=DARKEST))
        x, k = step({"est": (x, k)}, None, ZeroPrior(), steps, seen, physics)["est"]
        yield Progress(i + 1, settings.iterations, 0, True, k, x, x)
