"""BlindDPS: image and operator diffuse in parallel (Chung et al., "Parallel diffusion models of operator and image for
blind inverse problems", CVPR 2023, algorithms 1 and 2)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from blindinv.guidance.losses import Combined, Measurement
from blindinv.guidance.moves import Descend
from blindinv.guidance.sparsity import Norm, Sparsity, l1
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.priors.uniform import UniformPrior
from blindinv.problem import Deblurring
from blindinv.protocols import Forward, Loss, Prior, Step
from blindinv.schedule import Schedule
from blindinv.solve import Diffused, Progress, Treatment, solve
from blindinv.step import DDPM
from blindinv.unknown import Known

Scale = Callable[[Schedule], Callable[[int], float]]


def constant(value: float = 0.3) -> Scale:
    """The paper's step size: the same at every t."""
    return lambda schedule: lambda t: value


def root_abar(value: float = 1.0) -> Scale:
    """The released code's step size: value sqrt(abar_t), growing towards the end."""
    return lambda schedule: lambda t: value * schedule.at(t) ** 0.5


def blinddps(
    y: Tensor,
    A: Forward,
    prior: Prior,
    parts: Mapping[str, Prior | Tensor],
    sigma: Tensor,
    *,
    steps: int = 1000,
    scale: Scale | Mapping[str, Scale] = root_abar(),  # noqa: B008
    penalty: Loss | None = None,
    weight: float = 1.0,
    canvas: tuple[int, int] | None = None,
    rng: list[torch.Generator] | None = None,
    step: Step = DDPM(),  # noqa: B008
) -> Iterator[Progress]:
    """Reverse diffusions of the image and of every named part of the operator, coupled by |y - A(x0, phi0)|.

    The likelihood is the norm, not its square, on the [-1, 1] scale of images: the scale at which the step sizes were
    published. With every part known this is DPS.

    Args:
        y: (B, C, H, W) in [0, 1].
        A: forward model, called with phi as a dictionary of the parts.
        prior: of images, latent or pixel.
        parts: by name, the diffusion prior of a part, or its value if it is known.
        sigma: (B, 1, 1, 1) noise level.
        steps: of every reverse diffusion.
        scale: step sizes, one rule for all, or one for each name ("image" and the parts).
        penalty: a loss that is added, such as `Sparsity` ...
        weight: ... with this weight (lambda of the paper).
        canvas: size of the image where it is not that of y.
        rng: one generator per sample.
        step: reverse step.
    """
    loss: Loss = Measurement(A) if penalty is None else Combined(((1.0, Measurement(A)), (weight, penalty)))
    rule = scale if isinstance(scale, Mapping) else dict.fromkeys(("image", *parts), scale)
    phi: dict[str, Treatment] = {}
    for name, part in parts.items():
        phi[name] = Known(part) if isinstance(part, Tensor) else Diffused(part, part.schedule.timesteps(steps), step)
    rates = {k: rule[k](v.schedule) for k, v in parts.items() if not isinstance(v, Tensor)}
    move = Descend(loss, rule["image"](prior.schedule), rates)
    x = Diffused(prior, prior.schedule.timesteps(steps), step)
    return solve(y, x, phi, move, sigma, canvas=canvas, rng=rng)


@dataclass(frozen=True)
class Kernel:
    """An operator of one part as one of the named part "kernel"."""

    A: Any

    def __call__(self, x: Tensor, phi: Mapping[str, Tensor]) -> Tensor:
        """A(x, k)."""
        return self.A(x, phi["kernel"])

    def frame(self, x: Tensor, frame: tuple[int, int]) -> Tensor:
        """As that of the operator."""
        return self.A.frame(x, frame)


ABOUT = About(
    "BlindDPS: image and kernel diffuse in parallel, coupled by the likelihood",
    "Chung et al., Parallel Diffusion Models of Operator and Image for Blind Inverse Problems, CVPR 2023",
    "1000 of each network, all with gradients",
    "to compare with the paper, or kernels that a diffusion prior was trained on",
)
UNIFORM = About(
    "BlindDPS with a uniform prior on the kernel: the paper's ablation",
    ABOUT.paper,
    "1000, all with gradients",
    "to see what the diffusion prior of kernels is worth",
)


@dataclass(frozen=True)
class BlindDPS:
    """Blind deblurring with two diffusions.

    Args:
        steps: of both.
        rate: step sizes are rate sqrt(abar_t) at 1000 steps, and in inverse proportion to the number of steps.
        kernel_rate: the same for the kernel.
        sparsity: weight of the norm of the kernel ...
        norm: ... which is this one.
        uniform: no diffusion prior of kernels, a uniform one.
    """

    steps: int = 1000
    rate: float = 1.0
    kernel_rate: float = 1.0
    sparsity: float = 0.0
    norm: Norm = l1
    uniform: bool = False
    about: About = ABOUT
    needs: tuple[str, ...] = ("prior", "kernel_prior")
    own_prior: str = "pixels"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `blinddps`.

        Raises:
            ValueError: a kernel larger than those of the prior.
        """
        no_skip(options, "BlindDPS")
        steps = options.steps or self.steps
        kernels = UniformPrior(problem.kernel_size) if self.uniform else models.kernel_prior
        if problem.kernel is None and problem.kernel_size > kernels.size:
            raise ValueError(f"the kernel prior knows kernels up to {kernels.size} pixels, not {problem.kernel_size}")
        if problem.kernel is None:
            problem = replace(problem, kernel_size=kernels.size)
        pace = len(models.prior.schedule) / steps
        scale = {"image": root_abar(self.rate * pace), "kernel": root_abar(self.kernel_rate * pace)}
        chains = blinddps(
            problem.y,
            Kernel(problem.A),
            models.prior,
            {"kernel": kernels if problem.kernel is None else problem.kernel},
            problem.sigma,
            steps=steps,
            scale=scale,
            penalty=Sparsity(kernels.raw, self.norm) if self.sparsity else None,
            weight=self.sparsity,
            canvas=problem.canvas,
            rng=problem.rng,
        )
        return (replace(p, phi=p.phi["kernel"]) for p in chains)


METHODS: dict[str, Method] = {
    "blinddps": BlindDPS(),
    "blinddps-uniform": BlindDPS(uniform=True, about=UNIFORM, needs=("prior",)),
}
