"""Vanilla EM: the classical alternation that LatentDEM is compared with (its appendix D, table 3)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindinv.kernels.measure import delta, recentre, roll_each
from blindinv.methods.latentdem_paper import Anneal, Annealing, latentdem_paper, linear
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.mstep.hqs import HQS, KernelPrior
from blindinv.problem import Deblurring
from blindinv.protocols import MStep, Prior, Step
from blindinv.solve import Progress, always
from blindinv.step import DDPM


def converge(m_step: MStep, y: Tensor, x: Tensor, k: Tensor, sigma: Tensor, limit: int, tolerance: float = 1e-3) -> Tensor:
    """Repeat an M-step on one image until the kernel stands still.

    Args:
        m_step: k -> the next k.
        y: (B, C, H, W).
        x: (B, C, H', W') on the canvas.
        k: (B, 1, n, n), where it starts.
        sigma: (B, 1, 1, 1).
        limit: repetitions at most.
        tolerance: sample b is done when its kernel moved by less than this in the sum of absolute values.
    """
    moving = torch.ones(len(k), 1, 1, 1, dtype=torch.bool, device=k.device)
    for _ in range(limit):
        new = torch.where(moving, m_step(y, x, k, 0, sigma), k)
        moving = (new - k).abs().sum((1, 2, 3), keepdim=True) > tolerance
        k = new
        if not moving.any():
            break
    return k


def vanilla_em(
    problem: Deblurring,
    prior: Prior,
    denoiser: KernelPrior,
    rounds: int = 18,
    steps: int = 1000,
    anneal: Annealing = Anneal(linear),  # noqa: B008 (a frozen value)
    gamma: float = 0.1,
    omega: float = 1.0,
    step: Step = DDPM(),  # noqa: B008
    repeats: int = 20,
) -> Iterator[Progress]:
    """E-step: a whole reverse diffusion with the kernel held (PSLD). M-step: to convergence on its image. Alternated.

    Every step is a full one, and one round costs what the whole of LatentDEM costs without skipping. After each
    M-step the kernel goes to its centre of mass and the image goes along. With a known kernel one E-step is all.

    Args:
        problem: what to deblur.
        prior: latent prior.
        denoiser: plug-and-play kernel denoiser.
        rounds: E-steps and M-steps (the paper does not say how many; its 120 minutes are 18 of its 6.5-minute E-steps).
        steps: of each reverse diffusion.
        anneal: 1 / zeta_t.
        gamma: weight of gluing.
        omega: weight of the measurement.
        step: reverse step.
        repeats: M-steps of 20 HQS iterations at most, each from the one before.

    Yields:
        one `Progress` per reverse step; `step` and `total` count over all rounds.
    """
    known = problem.kernel is not None
    k = delta(problem.kernel_size, len(problem.y)).to(problem.y) if problem.kernel is None else problem.kernel
    rounds, m_step = 1 if known else rounds, HQS(problem.A, denoiser)
    for i in range(rounds):
        e_step = latentdem_paper(problem.with_kernel(k), prior, denoiser, steps, always, anneal, gamma, omega, step)
        for p in e_step:
            p = replace(p, step=i * steps + p.step, total=rounds * steps)
            if p.step == (i + 1) * steps and p.x is not None and not known:
                k, shift = recentre(converge(m_step, problem.y, p.x, k, problem.sigma, repeats))
                p = replace(p, phi=k, x=roll_each(p.x, -shift))
            yield p


VANILLA = About(
    "EM with whole reverse diffusions as E-steps",
    "Bai et al., Blind Inversion using Latent Diffusion Priors, appendix D and table 3",
    "18000, all with gradients",
    "to see what alternating inside one diffusion saves",
)


@dataclass(frozen=True)
class Vanilla:
    """Full E-steps and full M-steps, alternated (the paper's table 3)."""

    steps: int = 1000
    about: About = VANILLA
    needs: tuple[str, ...] = ("prior", "denoiser")
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `vanilla_em`."""
        no_skip(options, "vanilla EM")
        return vanilla_em(problem, models.prior, models.denoiser, steps=options.steps or self.steps)


METHODS: dict[str, Method] = {"vanilla-em": Vanilla()}
