"""The EM rounds of the default method: E-step and M-step weighted by one error spectrum, then what EM leaves is corrected."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from blindinv.guidance.moves import Proximal
from blindinv.kernels.measure import centre_exactly, centre_of_main_part, shifted
from blindinv.mstep.hqs import HQS
from blindinv.operators.convolution import mean_image, wiener
from blindinv.operators.fourier import moved
from blindinv.priors.kernel import HOLDS, KernelRefiner, features, mean_kernel
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import Renoise
from blindinv.unknown import Estimated


def start_image(problem: Deblurring, prior: LatentPrior, k: Tensor) -> Tensor:
    """The Wiener estimate on the canvas, under the prior's mean spectrum of images."""
    assert prior.image_spectrum is not None
    x = mean_image(problem.A, problem.y, problem.kernel_size)
    return wiener(problem.A, problem.y, k, prior.image_spectrum(0, problem.canvas, x.device), problem.sigma, x)


class EM:
    """EM from a kernel that is nearly right (LatentDEM, eqs. 7-9 and 11), at a fixed timestep.

    Args:
        problem: what to deblur.
        prior: a latent prior.
        hqs: the M-step, weighted by the prior's error spectrum.
        start: (B, 1, n, n), centred to a fraction of a pixel.
        spared: (B, 1, 1, 1), true where the kernel stays as it is.
        t: the timestep.
    """

    def __init__(self, problem: Deblurring, prior: LatentPrior, hqs: HQS, start: Tensor, spared: Tensor, t: int) -> None:
        assert hqs.spectrum is not None
        self.problem, self.prior, self.hqs, self.start, self.spared, self.t = problem, prior, hqs, start, spared, t
        self.move = Proximal(problem.A, hqs.spectrum, prior.encode)
        self.kernel, self.image, self.seen = start, torch.empty(0), (torch.empty(0), start)

    def m_step(self, y: Tensor, x: Tensor, phi: Tensor, t: int, sigma: Tensor) -> Tensor:
        """See `MStep`; remembers image and kernel that it saw."""
        self.seen = (x, phi)
        return torch.where(self.spared, phi, self.hqs(y, x, phi, t, sigma))

    def run(self, rounds: tuple[int, ...]) -> Iterator[Progress]:
        """Iterations in rounds; each begins with centring the kernel, and with the Wiener image that goes with it."""
        problem, done = self.problem, 0
        for iterations in rounds:
            k = centre_exactly(self.kernel)
            chain = Diffused(self.prior, [self.t] * iterations, Renoise(), start_image(problem, self.prior, k))
            phi = Estimated(k, self.m_step)
            for p in solve(problem.y, chain, phi, self.move, problem.sigma, canvas=problem.canvas, rng=problem.rng):
                assert p.x is not None
                self.kernel, self.image = p.phi, p.x
                yield replace(p, step=done + p.step, total=sum(rounds))
            done += iterations

    def squares(self) -> Tensor:
        """Least squares of the last M-step, what `KernelRefiner` wants to see, (B, 3, n, n)."""
        x, k = self.seen
        return self.hqs.squares(self.problem.y, x, k, self.t, self.problem.sigma, HOLDS)

    def found(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Start, kernel and least squares, centred together, and the image that goes with them.

        In EM kernel and image drift by a fraction of a pixel, in opposite directions; the mean of start and EM tells how far.
        """
        by = centre_of_main_part(mean_kernel(self.start, self.kernel))
        start, kernel, squares = (shifted(k, -by) for k in (self.start, self.kernel, self.squares()))
        return (start.clamp(min=0), kernel.clamp(min=0), squares), moved(self.image, by)

    def mean(self, keep: float) -> tuple[Tensor, Tensor]:
        """The mean of the start, with weight `keep`, and what EM arrived at, centred, and the image that goes with it."""
        return centred(mean_kernel(self.start, self.kernel, keep), self.image)

    def refined(self, refiner: KernelRefiner) -> tuple[Tensor, Tensor]:
        """What the refiner makes of it, centred, and the image that goes with it; a spared kernel stays."""
        parts, x = self.found()
        return centred(torch.where(self.spared, self.start, refiner.averaged(features(*parts))), x)


def centred(k: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel and image, moved in opposite directions until the kernel is centred to a fraction of a pixel."""
    return centre_exactly(k), moved(x, centre_of_main_part(k))
