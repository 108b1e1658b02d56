"""A second opinion on the kernel, by a method that errs differently: where two agree, both are near, and their mean is nearer.

EM's kernels are a little too thick. Those of the dark channel prior are thin, wrong altogether where the blur is long, and
worse than EM's in noise, of which that method knows nothing: so it is asked only about photos with little of it.
"""

from dataclasses import dataclass, field

from torch import Tensor

from blindinv.baselines.pan_dcp import PanDCP, dark_channel_kernels
from blindinv.kernels.measure import interpolated, mnc, offset
from blindinv.operators.fourier import moved
from blindinv.operators.noise import level
from blindinv.problem import Deblurring

FINE = 8  # parts of a pixel


@dataclass(frozen=True)
class SecondOpinion:
    """The kernel of the dark channel prior, beside one that is there already.

    Args:
        settings: of the dark channel prior.
        quiet: noise level on [0, 1] up to which it is asked.
        least: MNC, by fractions of a pixel, from which the two agree.
        share: weight of the second opinion in the mean of two that agree.
    """

    settings: PanDCP = field(default_factory=PanDCP)
    quiet: float = 0.015
    least: float = 0.9
    share: float = 2 / 3

    def asked(self, problem: Deblurring) -> Tensor:
        """Whether there is little noise, (B, 1, 1, 1)."""
        return level(problem.sigma) <= self.quiet

    def kernel(self, problem: Deblurring) -> Tensor:
        """The second opinion, (B, 1, n, n)."""
        *_, k = dark_channel_kernels(problem.y, problem.kernel_size, problem.circular, self.settings)
        return k

    def agrees(self, k: Tensor, other: Tensor) -> Tensor:
        """Whether a kernel (B, 1, n, n) and a second opinion on it are nearly the same, (B, 1, 1, 1)."""
        return (mnc(k, other, FINE) >= self.least).view(-1, 1, 1, 1)

    def mean(self, k: Tensor, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of kernel and second opinion, (B, 1, n, n), and an image (B, C, H', W') that goes with it.

        It lies on the pixels of the second opinion, which stays thin; k and x move there, in opposite directions.
        """
        by = offset(k, other, FINE)
        return self.share * other + (1 - self.share) * interpolated(k, by), moved(x, -by)
