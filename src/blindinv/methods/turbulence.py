"""Blind imaging through turbulence, y = k * T_tau(x) + n: the published composition, and what works better with small priors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from blindinv.guidance.moves import Proximal
from blindinv.kernels.mixture import gaussian_kernels
from blindinv.methods.blinddps import Scale, blinddps, root_abar
from blindinv.methods.method import About, Models, Needy
from blindinv.mstep.gaussian import OCTAVE, best_width
from blindinv.mstep.tilt import TiltStep
from blindinv.operators.convolution import mean_image, wiener
from blindinv.operators.fourier import fft, ifft, otf, size_of
from blindinv.operators.noise import split
from blindinv.operators.turbulence import Turbulence
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.protocols import Estimate, Prior
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import Renoise
from blindinv.unknown import Estimated, Known


@dataclass(frozen=True)
class Settings:
    """Constants of the default method.

    Args:
        widths: of the Gaussian kernels that are tried, in pixels.
        judge_t: timestep at which they are compared by evidence.
        steps: of the sampler.
        from_t: timestep at which it starts.
        tilt_above: the tilt is estimated anew at timesteps from here up.
        temper, momentum: see `TiltStep`.
        floor: the least noise level that is assumed, on [0, 1].
    """

    widths: tuple[float, ...] = OCTAVE
    judge_t: int = 420
    steps: int = 32
    from_t: int = 420
    tilt_above: int = 200
    temper: float = 8.0
    momentum: float = 0.5
    floor: float = 0.01


class TurbulenceMethod(Needy, Protocol):
    """A way to restore; phi of its steps is {"kernel", "tilt"} on the canvas."""

    @property
    def about(self) -> About:
        """What it is."""
        ...

    def __call__(self, problem: Deblurring, models: Models, strength: float, steps: int | None, /) -> Iterator[Progress]:
        """The steps on a problem, with turbulence of a strength; raises ValueError for what the method cannot do."""
        ...


@dataclass(frozen=True)
class TiltedProximal(Proximal):
    """The closed-form data step of `Proximal` with the residual y - k * T_tau(x0).

    The step itself is not tilted back: it is smooth, and the tilt is a fraction of a pixel.

    Args:
        operator: the forward model whose blur is `A`.
    """

    operator: Turbulence | None = None

    def data_step(self, e: Estimate, x: Tensor) -> Tensor:
        """x0 + F^-1[conj(K) R_t / (|K|^2 R_t + sigma^2) F(y - k * T_tau(x0))]."""
        assert self.operator is not None
        size = size_of(x)
        K, power = otf(e.phi["kernel"], size), self.spectrum(e.t, size, x.device)
        base, excess = split(self.inflate * e.sigma)
        c = K.abs().square() * power + base
        return x + ifft(K.conj() * power / c * fft(self.operator.residual(e.y, x, e.phi, c, excess)), size)


def turbulence(
    problem: Deblurring, prior: LatentPrior, strength: float = 1.0, settings: Settings = Settings()
) -> Iterator[Progress]:
    """Recover image, kernel and tilt; phi is {"kernel", "tilt"} on the canvas.

    The kernel is the Gaussian with the highest evidence under the image prior (the long-exposure blur of turbulence is
    about Gaussian), unless it is known. Then image and tilt are found together, in one short reverse diffusion with the
    closed-form data step, with the tilt's M-step (exact Gaussian prior) inside.

    Args:
        problem: what to restore; its kernel may be known.
        prior: a latent prior whose error spectrum and image spectrum are known.
        strength: of the turbulence, see `tilt_maps`; 0: no tilt.
        settings: constants.

    Raises:
        ValueError: the prior has no spectra.
    """
    if prior.spectrum is None or prior.image_spectrum is None:
        raise ValueError("this prior has no error spectrum; measure it with blindinv.measure_spectrum(prior, photos)")
    problem, k = replace(problem, sigma=problem.sigma.clamp(min=settings.floor)), problem.kernel
    if k is None:
        std = best_width(problem, prior, settings.judge_t, settings.widths)
        k = gaussian_kernels(problem.kernel_size, std.cpu()).to(problem.y)
    x = mean_image(problem.A, problem.y, k.shape[-1])
    x = wiener(problem.A, problem.y, k, prior.image_spectrum(0, problem.canvas, x.device), problem.sigma, x)
    A, tilt = Turbulence(problem.A), torch.zeros(len(x), 2, *problem.canvas).to(x)
    m_step = TiltStep(A, k, prior.spectrum, strength, settings.temper, momentum=settings.momentum)
    tilts = Estimated(tilt, m_step, lambda t: t >= settings.tilt_above)
    chain = Diffused(prior, prior.schedule.timesteps(settings.steps, settings.from_t), Renoise(), x)
    move = TiltedProximal(problem.A, prior.spectrum, prior.encode, operator=A)
    phi = {"kernel": Known(k), "tilt": tilts if strength else Known(tilt)}
    yield from solve(problem.y, chain, phi, move, problem.sigma, canvas=problem.canvas, rng=problem.rng)


def turbulence_paper(
    problem: Deblurring,
    prior: Prior,
    kernel_prior: Any,
    tilt_prior: Prior,
    steps: int = 1000,
    scale: Scale | Mapping[str, Scale] = root_abar(),  # noqa: B008
) -> Iterator[Progress]:
    """BlindDPS with three chains: image, kernel and tilt diffuse in parallel, no sparsity (Chung et al., CVPR 2023).

    Args:
        problem: what to restore; its kernel may be known.
        prior: of images, pixel or latent.
        kernel_prior: of kernels, such as `KernelDiffusion`.
        tilt_prior: of tilt maps, such as `TiltDiffusion`; it must know fields of the canvas.
        steps: of each chain.
        scale: step sizes, see `blinddps`.

    Raises:
        ValueError: a kernel larger than those of the prior.
    """
    k = problem.kernel
    if k is None and problem.kernel_size > kernel_prior.size:
        raise ValueError(f"the kernel prior knows kernels up to {kernel_prior.size} pixels, not {problem.kernel_size}")
    if k is None:
        problem = replace(problem, kernel_size=kernel_prior.size)
    parts = {"kernel": kernel_prior if k is None else k, "tilt": tilt_prior}
    y, A, canvas = problem.y, Turbulence(problem.A), problem.canvas
    return blinddps(y, A, prior, parts, problem.sigma, steps=steps, scale=scale, canvas=canvas, rng=problem.rng)


BY_EVIDENCE = About(
    "Gaussian kernel by evidence, tilt by its closed-form M-step inside a short latent diffusion",
    "after Bai et al., Blind Inversion using Latent Diffusion Priors, with the operator of BlindDPS",
    "44, without gradients",
    "a photo through turbulent air; the best figures and the quickest",
)
THREE_CHAINS = About(
    "BlindDPS: image, kernel and tilt diffuse in parallel, coupled by the likelihood",
    "Chung et al., Parallel Diffusion Models of Operator and Image for Blind Inverse Problems, CVPR 2023",
    "1000 of each of three networks, all with gradients",
    "to compare with the paper",
)


@dataclass(frozen=True)
class ByEvidence:
    """The default: see `turbulence`."""

    settings: Settings = field(default_factory=Settings)
    about: About = BY_EVIDENCE
    needs: tuple[str, ...] = ("prior",)
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, strength: float, steps: int | None) -> Iterator[Progress]:
        """See `turbulence`."""
        from blindinv.zoo.spectra import with_spectra

        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        return turbulence(problem, with_spectra(models.prior), strength, settings)


@dataclass(frozen=True)
class ThreeChains:
    """The published composition: see `turbulence_paper`.

    Args:
        steps: of each chain.
        rate: step sizes are rate sqrt(abar_t) at 1000 steps, in inverse proportion to the number of steps ...
        kernel_rate: ... the same for the kernel ...
        tilt_rate: ... and for the tilt.
    """

    steps: int = 1000
    rate: float = 1.0
    kernel_rate: float = 1.0
    tilt_rate: float = 1.0
    about: About = THREE_CHAINS
    needs: tuple[str, ...] = ("prior", "kernel_prior", "tilt_prior")
    own_prior: str = "pixels"

    def __call__(self, problem: Deblurring, models: Models, strength: float, steps: int | None) -> Iterator[Progress]:
        """See `turbulence_paper`.

        Raises:
            ValueError: another strength than that of the tilt prior, which is 1 for a trained one.
        """
        known = getattr(models.tilt_prior, "strength", 1.0)
        if strength != known:
            raise ValueError(
                f"this tilt prior knows turbulence of strength {known:g}, not {strength:g}; use the prior 'gaussian'"
            )
        steps = steps or self.steps
        pace = len(models.prior.schedule) / steps
        rates = {"image": self.rate, "kernel": self.kernel_rate, "tilt": self.tilt_rate}
        scale = {name: root_abar(rate * pace) for name, rate in rates.items()}
        return turbulence_paper(problem, models.prior, models.kernel_prior, models.tilt_prior, steps, scale)


TURBULENCE: dict[str, TurbulenceMethod] = {"default": ByEvidence(), "blinddps": ThreeChains()}
