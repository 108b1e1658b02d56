"""LatentDEM as it works best with a small prior: a classical start, a few weighted EM steps, a short spectral sampler.

The same EM with latent diffusion priors as the paper's; what differs is measured in docs/results.md:
the kernel starts from a coarse-to-fine estimate instead of a delta; the M-step weights each frequency by the model error that
appendix A calls nu_t (measured per frequency, not tuned); and the E-step's likelihood uses the same error spectrum,
so that it has no step size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindinv.guidance.moves import Proximal, Score
from blindinv.guidance.losses import Spectral
from blindinv.kernels.measure import delta
from blindinv.mstep.coarse_to_fine import CoarseToFine, coarse_to_fine
from blindinv.mstep.hqs import HQS, KernelPrior
from blindinv.operators.convolution import mean_image, wiener
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.protocols import Guidance, Unknown
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import Renoise
from blindinv.unknown import Estimated, Known


@dataclass(frozen=True)
class Settings:
    """Constants of the default method.

    Args:
        start: settings of the coarse-to-fine start (None: start from a delta kernel).
        em: EM iterations at the fixed timestep `em_t` (0: none).
        em_t: their timestep.
        steps: of the final sampler.
        from_t: timestep at which the final sampler starts.
        delta, hqs, momentum: of the M-step, see `HQS`.
        inflate: factor on sigma in the final sampler of a blind problem, for what is wrong with the kernel.
        gradient: final sampler by gradient of the spectral likelihood (True) or by proximal steps (False).
        zeta: step size of the gradient sampler.
    """

    start: CoarseToFine | None = CoarseToFine()
    em: int = 5
    em_t: int = 200
    steps: int = 16
    from_t: int = 420
    delta: float = 5e6
    hqs: int = 8
    momentum: float = 0.5
    inflate: float = 1.0
    gradient: bool = False
    zeta: float = 0.3


def start_kernel(problem: Deblurring, denoiser: KernelPrior, settings: Settings) -> Tensor:
    """The kernel that EM starts from, (B, 1, n, n)."""
    if problem.kernel is not None:
        return problem.kernel
    k = delta(problem.kernel_size, len(problem.y)).to(problem.y)
    if settings.start is not None:
        for k in coarse_to_fine(problem.y, problem.kernel_size, problem.circular, settings.start, denoiser):
            pass
    return k


def start_image(problem: Deblurring, prior: LatentPrior, k: Tensor) -> Tensor:
    """The Wiener estimate on the canvas, under the prior's own mean spectrum of images."""
    x = mean_image(problem.A, problem.y, problem.kernel_size)
    power = prior.image_spectrum(0, problem.canvas, x.device)
    return wiener(problem.A, problem.y, k, power, problem.sigma, x)


def latentdem(problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, settings: Settings = Settings()) -> Iterator[Progress]:  # noqa: B008
    """Recover image and kernel; with a known kernel only the final sampler runs.

    Args:
        problem: what to deblur.
        prior: a latent prior whose error spectrum and image spectrum are known.
        denoiser: plug-and-play kernel denoiser.
        settings: constants.

    Raises:
        ValueError: the prior has no spectra.
    """
    if prior.spectrum is None or prior.image_spectrum is None:
        raise ValueError("this prior has no error spectrum; measure it with blindinv.measure_spectrum(prior, photos)")
    A, blind = problem.A, problem.kernel is None
    k = start_kernel(problem, denoiser, settings)
    x = start_image(problem, prior, k)
    total = settings.steps + (settings.em if blind else 0)
    done = 0
    if blind and settings.em:
        m_step = HQS(A, denoiser, settings.delta, 1.0, settings.hqs, prior.spectrum, settings.momentum)
        phi: Unknown = Estimated(k, m_step)
        chain = Diffused(prior, [settings.em_t] * settings.em, Renoise(), x)
        guidance: Guidance = Proximal(A, prior.spectrum, prior.encode)
        for p in solve(problem.y, chain, phi, guidance, problem.sigma, canvas=problem.canvas, rng=problem.rng):
            done += 1
            yield replace(p, total=total)
        k, x = p.phi, p.x
    timesteps = prior.schedule.timesteps(settings.steps, settings.from_t)
    inflate = settings.inflate if blind else 1.0
    guidance = Proximal(A, prior.spectrum, prior.encode, inflate)
    if settings.gradient:
        zeta = settings.zeta
        guidance = Score(Spectral(A, prior.spectrum, inflate), lambda t: zeta, guidance)
    chain = Diffused(prior, timesteps, Renoise(), x)
    for p in solve(problem.y, chain, Known(k), guidance, problem.sigma, canvas=problem.canvas, rng=problem.rng):
        yield replace(p, step=done + p.step, total=total)
