"""A kernel with one number: the Gaussian whose width explains the observation best."""

import math

import torch
from torch import Tensor

from blindinv.guidance.evidence import log_evidence
from blindinv.kernels.mixture import gaussian_kernels
from blindinv.operators.convolution import mean_image, wiener
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.protocols import generators

OCTAVE = tuple(0.3 * 2 ** (i / 2) for i in range(10))
"""0.3 (no blur to speak of) to 6.8 pixels, two to an octave."""


def evidence_of_width(problem: Deblurring, prior: LatentPrior, std: Tensor, t: int) -> Tensor:
    """log p(y | Gaussian of standard deviation std (B,)), per pixel and up to a constant, (B,); see `log_evidence`."""
    assert prior.image_spectrum is not None
    k = gaussian_kernels(problem.kernel_size, std.cpu()).to(problem.y)
    x = mean_image(problem.A, problem.y, problem.kernel_size)
    x = wiener(problem.A, problem.y, k, prior.image_spectrum(0, problem.canvas, x.device), problem.sigma, x)
    return log_evidence(problem, prior, k, x, t, generators(0, len(problem.y), problem.y.device))


def best_width(problem: Deblurring, prior: LatentPrior, t: int = 420, widths: tuple[float, ...] = OCTAVE) -> Tensor:
    """Standard deviation in pixels of the Gaussian kernel with the highest evidence, per sample, (B,).

    Every width is tried, then the two between the best and its neighbours; the top of the parabola through the last three
    points, in the logarithm of the width, is the answer.

    Args:
        problem: what to deblur.
        prior: with an error spectrum and an image spectrum.
        t: timestep of the test.
        widths: to try, in geometric progression; those that do not fit the kernel are left out.

    Raises:
        ValueError: fewer than two widths fit the kernel.
    """
    widths = tuple(w for w in widths if w <= problem.kernel_size / 6)
    if len(widths) < 2:
        raise ValueError(f"no two of the widths fit a kernel of {problem.kernel_size} pixels")
    log, half = torch.tensor(widths).log().to(problem.y), math.log(widths[1] / widths[0]) / 2
    scores = torch.stack([evidence_of_width(problem, prior, w.exp().expand(len(problem.y)), t) for w in log])
    middle, best = log[scores.argmax(0)], scores.amax(0)
    below, above = (evidence_of_width(problem, prior, (middle + d).exp(), t) for d in (-half, half))
    middle = middle + half * parabola(below, best, above)
    return middle.exp().clamp(widths[0], widths[-1])


def parabola(below: Tensor, middle: Tensor, above: Tensor) -> Tensor:
    """Where the parabola through the values at -1, 0 and 1 is highest, in [-1, 1]; if it opens upwards, the higher end."""
    bend = below - 2 * middle + above
    top = 0.5 * (below - above) / torch.where(bend < 0, bend, -torch.ones_like(bend))
    edge = torch.where(above > below, 1.0, -1.0)
    return torch.where(bend < 0, top.clamp(-1, 1), edge.to(top))
