"""LatentDEM as it works best with a small prior: classical starts, a few weighted EM steps, a short spectral sampler.

The EM with latent diffusion priors is the paper's; what differs is measured in docs/results.md. The kernel starts from
coarse-to-fine estimates instead of a delta, the best of several by the evidence and a prior on shapes; the M-step weights
each frequency by the model error that appendix A calls nu_t (measured per frequency, not tuned); the E-step's data term uses
the same error spectrum, so that it has no step size; the kernel is averaged with that of the dark channel prior where the
two agree; and the result is averaged with a sparse-gradient deconvolution.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.baselines.sparse import sparse_deconvolution_canvas
from blindinv.guidance.evidence import log_evidence
from blindinv.kernels.measure import centre_exactly, delta, mnc
from blindinv.methods.agreement import SecondOpinion
from blindinv.methods.em import EM, start_image
from blindinv.mstep.coarse_to_fine import CoarseToFine, coarse_to_fine, prune
from blindinv.mstep.hqs import HQS, KernelPrior
from blindinv.operators.fourier import Spectrum
from blindinv.parallel import side_by_side
from blindinv.priors.kernel import KernelRefiner
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.protocols import generators
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import Renoise
from blindinv.unknown import Known

STARTS = (
    CoarseToFine(prune=0.1),
    CoarseToFine(prune=0.1, vertical=True),
    CoarseToFine(prune=0.1, coarsest=11),
    CoarseToFine(prune=0.1, l0=(1e-2, 1e-3)),
    CoarseToFine(prune=0.1, quantiles=(0.5, 0.4)),
    CoarseToFine(prune=0.1, quantiles=(0.9, 0.8), vertical=True),
    CoarseToFine(prune=0.1, fraction=0.03),
    CoarseToFine(prune=0.05, fraction=0.02, tikhonov=2.0, l0=(4e-2, 1e-4), prune_late=0.02),
    CoarseToFine(prune=0.05, fraction=0.03, tikhonov=2.0, l0=(4e-3, 1e-4), quantiles=(0.93, 0.6), denoise_from=2.0),
    CoarseToFine(coarsest=5, quantiles=(0.5, 0.4), prune_late=0.02, denoise_from=0.6),
    CoarseToFine(coarsest=11, quantiles=(0.9, 0.8), fraction=0.02, prune_late=0.02, vertical=True),
    CoarseToFine(coarsest=9, quantiles=(0.8, 0.7), fraction=0.02, tikhonov=20.0, l0=(1e-2, 1e-3), vertical=True),
)

SHARP = 0.99  # a kernel with a value above this is a delta


@dataclass(frozen=True)
class Settings:
    """Constants of the default method.

    Args:
        starts: settings of the coarse-to-fine starts (none: a delta kernel).
        em: EM iterations at the fixed timestep `em_t`, in rounds; each round begins by centring the kernel to a fraction
            of a pixel and with the Wiener image that goes with it (none: the start's kernel is kept).
        keep: share of the start's kernel in the kernel that EM arrives at: their errors differ.
        em_t: their timestep.
        second: second opinion on the kernel (None: there is none).
        judge_t: timesteps at which candidates are compared by evidence.
        shape: weights of the prior on kernels (smooth, whole) in that comparison, see `shape`.
        delta, hqs, momentum: of the M-step, see `HQS`.
        steps: of the final sampler.
        from_t: timestep at which the final sampler starts.
        kernel_error: noise, on [0, 1], that the image steps of a blind problem add to sigma (in squares) for what is
            wrong with the kernel.
        sparse: share of the sparse-gradient deconvolution in the result (0: the posterior sample alone).
        floor: the least noise level that is assumed, on [0, 1]: the model itself is not better.
        constant_error: the error spectrum without its dependence on t and on frequency (for ablation).
    """

    starts: tuple[CoarseToFine, ...] = STARTS
    em: tuple[int, ...] = (8,)
    keep: float = 0.3
    em_t: int = 200
    second: SecondOpinion | None = field(default_factory=SecondOpinion)
    judge_t: tuple[int, ...] = (420,)
    shape: tuple[float, float] = (0.05, 0.3)
    delta: float = 1e6
    hqs: int = 8
    momentum: float = 0.5
    steps: int = 16
    from_t: int = 420
    kernel_error: float = 0.005
    sparse: float = 0.5
    floor: float = 0.01
    constant_error: bool = False


def start_kernel(problem: Deblurring, denoiser: KernelPrior, start: CoarseToFine | None) -> Tensor:
    """A candidate for the kernel, (B, 1, n, n), centred to a fraction of a pixel; with no start a delta, for sharp photos."""
    if start is None:
        return delta(problem.kernel_size, len(problem.y)).to(problem.y)
    *_, k = coarse_to_fine(problem.y, problem.kernel_size, problem.circular, start, denoiser)
    return centre_exactly(k)


def shape(k: Tensor, smooth: float, whole: float) -> Tensor:
    """A log prior of kernels (B, 1, n, n), up to a constant: movements are curves without gaps, (B,).

    smooth weighs the likeness (MNC) of k to its average over 3 x 3 pixels, which dots lack; whole that to its pieces
    above 5 % of the maximum that hold at least half the mass. The evidence cannot see this: a line broken into dots
    passes more high frequencies than a whole one. A delta has nothing to break and gets the full value.
    """
    near = mnc(F.avg_pool2d(k, 3, 1, 1), k)
    lone = k.amax((-3, -2, -1)) > SHARP
    return smooth * torch.where(lone, 1.0, near) + whole * mnc(prune(k, 0.05, 0.5), k)


def judge(problem: Deblurring, prior: LatentPrior, k: Tensor, settings: Settings) -> Tensor:
    """How good kernels (B, 1, n, n) are: `shape` and the evidence summed over `settings.judge_t`, (B,).

    The noise is the same for all candidates.
    """
    x, prior = start_image(problem, prior, k), getattr(prior, "exact", prior)
    scores = []
    for t in settings.judge_t:
        rng = generators(0, len(problem.y), problem.y.device)
        scores.append(log_evidence(problem, prior, k, x, t, rng))
    return torch.stack(scores).sum(0) + shape(k, *settings.shape)


def better_starts(
    problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, settings: Settings, pool: Executor
) -> Iterator[Tensor]:
    """After each candidate the one so far that `judge` likes best, chosen per sample, (B, 1, n, n); all are jobs of the pool."""

    @torch.no_grad()
    def candidate(start: CoarseToFine | None) -> tuple[Tensor, Tensor]:
        k = start_kernel(problem, denoiser, start)
        return k, judge(problem, prior, k, settings)

    jobs = [pool.submit(candidate, start) for start in (None, *settings.starts)]
    best, score = jobs[0].result()
    yield best
    for job in jobs[1:]:
        k, value = job.result()
        best = torch.where((value > score).view(-1, 1, 1, 1), k, best)
        score = torch.maximum(value, score)
        yield best


def best_start(problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, settings: Settings) -> Tensor:
    """The candidate that `judge` likes best, chosen per sample, (B, 1, n, n)."""
    with side_by_side(problem.y.device) as pool:
        *_, best = better_starts(problem, prior, denoiser, settings, pool)
    return best


def expectation_maximisation(
    problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, settings: Settings, start: Tensor
) -> EM:
    """EM with the M-step of the settings; a start that is a delta stays, there is nothing to find."""
    assert prior.spectrum is not None
    spectrum = _constant(prior.spectrum) if settings.constant_error else prior.spectrum
    hqs = HQS(problem.A, denoiser, settings.delta, 1.0, settings.hqs, spectrum, settings.momentum)
    sharp = start.amax((-3, -2, -1), keepdim=True) > (SHARP if settings.starts else 2.0)
    return EM(problem, prior, hqs, start, sharp, settings.em_t)


def _constant(spectrum: Spectrum) -> Spectrum:
    return Spectrum([0], spectrum.power.mean().expand(1, spectrum.power.shape[1]))


def second_opinion(problem: Deblurring, settings: Settings) -> SecondOpinion | None:
    """Whom to ask about the kernel: nobody if no photo of the batch has little noise, or if there was no first opinion."""
    second = settings.second if settings.starts else None
    return second if second is not None and bool(second.asked(problem).any()) else None


def count_kernel_steps(problem: Deblurring, settings: Settings) -> int:
    """How many steps `kernel_steps` has."""
    return 1 + len(settings.starts) + sum(settings.em) + (second_opinion(problem, settings) is not None)


def kernel_steps(
    problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, settings: Settings, refiner: KernelRefiner | None
) -> Generator[Progress, None, tuple[EM, Tensor, Tensor]]:
    """Starts and second opinion side by side, then EM; for the arguments see `latentdem`.

    Returns:
        EM, the kernel (B, 1, n, n), and the image on the canvas that goes with it.
    """
    second, k = second_opinion(problem, settings), torch.empty(0)
    with side_by_side(problem.y.device) as pool:
        asked = pool.submit(second.kernel, problem) if second else None  # first, since it takes longest
        for k in better_starts(problem, prior, denoiser, settings, pool):
            yield _searching(k, settings)
        other = asked.result() if asked else None
        if asked:
            yield _searching(k, settings)
    em = expectation_maximisation(problem, prior, denoiser, settings, k)
    yield from em.run(settings.em)
    k, x = em.mean(settings.keep if settings.starts else 0) if settings.em else (k, start_image(problem, prior, k))
    kept = em.refined(refiner) if refiner and settings.em and settings.starts else (k, x)
    if second is None or other is None:
        return em, *kept
    same = second.agrees(k, other) & second.asked(problem) & ~em.spared
    k, x = (torch.where(same, a, b) for a, b in zip(second.mean(k, x, other), kept, strict=True))
    return em, k, x


def _searching(k: Tensor, settings: Settings) -> Progress:
    return Progress(0, 0, settings.em_t, False, k, None, torch.empty(0))


def image_steps(problem: Deblurring, prior: LatentPrior, em: EM, k: Tensor, x: Tensor, settings: Settings) -> Iterator[Progress]:
    """The final sampler from an image x on the canvas, with kernel k; then the sparse-gradient deconvolution's share."""
    chain = Diffused(prior, prior.schedule.timesteps(settings.steps, settings.from_t), Renoise(), x)
    for p in solve(problem.y, chain, Known(k), em.move, problem.sigma, canvas=problem.canvas, rng=problem.rng):
        if p.step == p.total and settings.sparse:
            assert p.x is not None
            classical = sparse_deconvolution_canvas(problem.with_kernel(k))
            p = replace(p, x=(1 - settings.sparse) * p.x + settings.sparse * classical)
        yield p


def _steps(
    problem: Deblurring, prior: LatentPrior, denoiser: KernelPrior, settings: Settings, refiner: KernelRefiner | None
) -> Iterator[Progress]:
    """All steps of `latentdem`, not yet counted."""
    if problem.kernel is not None:
        k, x = problem.kernel, start_image(problem, prior, problem.kernel)
        em = expectation_maximisation(problem, prior, denoiser, settings, k)
    else:
        em, k, x = yield from kernel_steps(problem, prior, denoiser, settings, refiner)
        extra = torch.where(em.spared, 0.0, settings.kernel_error)
        problem = replace(problem, sigma=(problem.sigma.square() + extra.square()).sqrt())
    yield from image_steps(problem, prior, em, k, x, settings)


def latentdem(
    problem: Deblurring,
    prior: LatentPrior,
    denoiser: KernelPrior,
    settings: Settings = Settings(),
    refiner: KernelRefiner | None = None,
) -> Iterator[Progress]:
    """Recover image and kernel; with a known kernel only the final sampler runs.

    Args:
        problem: what to deblur.
        prior: a latent prior whose error spectrum and image spectrum are known.
        denoiser: plug-and-play kernel denoiser.
        settings: constants.
        refiner: network that ends EM; None: the mean of start and EM instead.

    Raises:
        ValueError: the prior has no spectra.
    """
    if prior.spectrum is None or prior.image_spectrum is None:
        raise ValueError("this prior has no error spectrum; measure it with blindinv.measure_spectrum(prior, photos)")
    problem, denoiser = replace(problem, sigma=problem.sigma.clamp(min=settings.floor)), getattr(denoiser, "exact", denoiser)
    total = settings.steps + (count_kernel_steps(problem, settings) if problem.kernel is None else 0)
    for i, p in enumerate(_steps(problem, prior, denoiser, settings, refiner), 1):
        yield replace(p, step=i, total=total)
