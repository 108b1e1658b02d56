"""The E-step of LatentDEM in 3D: one diffusion of all wanted views that believes all pictures (appendix C.2, eqs. 21-25).

In the terms of the loop: the prior is Zero123 with the first picture, z is that of V views, and what the other pictures say
is the guidance,

    grad log p(z_t | y_1 .. y_n) = s_1 + sum_j w_j (s_j - s_1),

which is eq. 25 where w_2 = gamma_t. The loop's images are latents here (`decode` only takes the first chain), because eqs. 12
and 25 never leave the latents, and decoding every view at every step would cost more than the diffusion itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindinv.protocols import Estimate, Guided, Step
from blindinv.schedule import Schedule
from blindinv.step import DDIM
from blindinv.views.scene import Scene

Gamma = Callable[[int], float]
"""t -> gamma_t, the weight of the second of two pictures, in [0, 0.5]."""


@dataclass(frozen=True)
class Rise:
    """gamma_t rises from 0 at t >= `start` to `high` at t <= `end`, linearly: trust in poses that are still being found.

    Appendix C.2, "Annealing of view-consistent diffusion", says "from nearly 0 to 0.5" and leaves the rest open.
    """

    high: float = 0.5
    start: int = 900
    end: int = 400

    def __call__(self, t: int) -> float:
        """gamma_t."""
        return self.high * min(1.0, max(0.0, (self.start - t) / (self.start - self.end)))


def even(t: int) -> float:
    """gamma_t = 0.5 at all t: two pictures are believed alike, as is best where their poses are known or nearly so."""
    return 0.5


def model_error(betas: Tensor, nu: Callable[[int], float]) -> Gamma:
    """gamma_t = beta_t / (2 beta_t + nu_t^2), as eq. 25 derives it from the model error nu_t of the second picture.

    Args:
        betas: (T,).
        nu: t -> standard deviation of the error.
    """
    return lambda t: float(betas[t]) / (2 * float(betas[t]) + nu(t) ** 2)


def view_weights(gamma: float, count: int) -> list[float]:
    """Weights of the scores of n pictures, sum 1: eq. 25 for two, and what its derivation gives for more.

    The product of Gaussians (eq. 24) of variances beta for y_1 and beta + nu^2 for each other picture has weights
    proportional to 1 and r = beta / (beta + nu^2) = gamma / (1 - gamma).

    Raises:
        ValueError: gamma is outside [0, 0.5].
    """
    if not 0 <= gamma <= 0.5:
        raise ValueError(f"gamma is {gamma}; from 0 (the first picture alone) to 0.5 (all pictures alike) is possible")
    r = gamma / (1 - gamma)
    other = r / (1 + (count - 1) * r)
    return [1 - (count - 1) * other] + [other] * (count - 1)


def mixed(parts: list[Tensor | None], weights: list[float]) -> Tensor:
    """Weighted sum; parts of weight 0 are None. One part of weight 1 comes out bit for bit."""
    kept = [(p, w) for p, w in zip(parts, weights, strict=True) if p is not None]
    total = kept[0][1] * kept[0][0]
    for p, w in kept[1:]:
        total = total + w * p
    return total


class FirstView:
    """The prior of the loop: all views as the first picture alone tells them. z is (B, chains, V, C, h, w).

    Args:
        scene: pictures and wanted views.
        chains: 1, or n for algorithm 2, where the other chains get their own means from `Chains`.
    """

    def __init__(self, scene: Scene, chains: int = 1) -> None:
        self.scene, self.chains, self.schedule = scene, chains, scene.prior.schedule

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for observations (B, n, H, W), whatever n."""
        b, v = image[0], len(self.scene.targets)
        return (b, self.chains, v, *self.scene.prior.shape((b * v, 3, *image[2:]))[1:])

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t, y_1]."""
        none = self.scene.targets.new_zeros(len(z_t), 0, 3)
        return self.scene.mean(z_t[:, 0], t, 0, none)[:, None].expand_as(z_t)

    def decode(self, z: Tensor) -> Tensor:
        """The latents (B, V, C, h, w) of the first chain."""
        return z[:, 0]

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, V, C, h, w) -> every chain."""
        return x[:, None].expand(len(x), self.chains, *x.shape[1:])


@dataclass(frozen=True, eq=False)
class Consistent:
    """Eq. 25: at one shared z_t, the weighted mean of what all pictures say. A guidance without gradients.

    As scores and means are affine in each other at one z_t, means are averaged: z0 = sum_j w_j E[z_0 | z_t, y_j, phi_j].

    Args:
        scene: pictures and wanted views.
        gamma: gamma_t; where it is 0 the step is that of the first picture alone, bit for bit, at its cost.
    """

    scene: Scene
    gamma: Gamma = even
    needs_grad: bool = False

    def __call__(self, e: Estimate) -> Guided:
        """The mean to step with."""
        z, weights = e.z[:, 0], view_weights(self.gamma(e.t), len(self.scene.inputs))
        parts: list[Tensor | None] = [e.z0[:, 0]]
        parts += [self.scene.mean(z, e.t, j, e.phi) if w else None for j, w in enumerate(weights) if j]
        z0 = mixed(parts, weights)
        return Guided(z0[:, None], None, z0)


@dataclass(frozen=True, eq=False)
class Chains:
    """Algorithm 2's form: every picture has a chain of its own, with its own E[z_0 | z_t]; `Fused` mixes after the step."""

    scene: Scene
    needs_grad: bool = False

    def __call__(self, e: Estimate) -> Guided:
        """The means of all chains; the image is that of the first one."""
        others = [self.scene.mean(e.z[:, j], e.t, j, e.phi) for j in range(1, len(self.scene.inputs))]
        return Guided(torch.stack([e.z0[:, 0], *others], 1), None, e.z0[:, 0])


@dataclass(frozen=True)
class Fused:
    """Algorithm 2's step: all chains step with one noise, then the first becomes the weighted mean of all; the others go on.

    z_s(y_1) <- (1 - gamma_s) z_s(y_1) + gamma_s z_s(y_2) for two pictures.

    Args:
        step: of each chain; the paper's is DDPM.
        gamma: gamma_t.
    """

    step: Step = field(default_factory=DDIM)
    gamma: Gamma = even

    def __call__(self, schedule: Schedule, z: Tensor, z0: Tensor, t: int, s: int, noise: Tensor) -> Tensor:
        """z_s of all chains (B, n, V, C, h, w)."""
        z = self.step(schedule, z, z0, t, s, noise[:, :1].expand_as(noise))
        weights = view_weights(self.gamma(max(s, 0)), z.shape[1])
        first = mixed([z[:, j] if w else None for j, w in enumerate(weights)], weights)
        return torch.cat([first[:, None], z[:, 1:]], 1)
