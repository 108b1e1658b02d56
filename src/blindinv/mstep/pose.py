"""The pose M-step: pictures of unknown pose are aligned with what the other pictures say (LatentDEM, eqs. 12 and 26)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.protocols import Estimate
from blindinv.schedule import Schedule
from blindinv.views.consistent import Gamma, even, mixed, view_weights
from blindinv.views.scene import Scene

POLES = (math.radians(5), math.radians(175))
"""Polar angles that estimates are kept within."""
REACH = 0.3
"""Largest difference of radius to the first picture."""


def ddim_coefficient(schedule: Schedule, t: int, s: int) -> float:
    """-d z_s / d eps of a DDIM step from t to s: sqrt(1 - abar_t) sqrt(abar_s / abar_t) - sqrt(1 - abar_s).

    Two DDIM steps from one z_t differ by this times the difference of their noise predictions. It is in proportion to the
    length of the step: 0.03 to 0.13 where Stable Diffusion's schedule is run in 50 steps, 0.002 to 0.03 in 1000.
    """
    a, b = schedule.at(t), schedule.at(s)
    return (1 - a) ** 0.5 * (b / a) ** 0.5 - (1 - b) ** 0.5


def alignment(eps: Tensor, fused: Tensor, first: Tensor, ratio: float) -> Tensor:
    """Eq. 26 at one z_t, without the factor that hangs on the length of the step: one number per sample, (B,).

    (ratio |eps_j - eps_fused|^2 + |eps_j - eps_1|^2) / (1 + ratio) per element, with ratio = lambda / delta

    The paper compares z_t(y_2, phi_2), z_t(x_0, 0) and z_t(y_1, phi_1), latents after one reverse step. From one z_t these
    differ by `ddim_coefficient` times the differences of noise; divided by its square, eq. 26 is this loss.

    With two pictures eps_fused = (1 - gamma) eps_1 + gamma eps_2(old pose): at the old pose, both terms pull the same way, and
    the first says something new only from the third picture on.

    Args:
        eps: noise of all views by picture j, (B, V, C, h, w), with a gradient in its pose.
        fused: noise by all pictures (eq. 25), held fixed: the synthetic views.
        first: noise by the first picture, held fixed: the reference.
        ratio: lambda / delta.
    """
    synthetic, reference = ((eps - other.detach()).square().flatten(1).mean(1) for other in (fused, first))
    return (ratio * synthetic + reference) / (1 + ratio)


@dataclass(frozen=True)
class Geometric:
    """A value that falls by a constant factor per timestep, from `high` at t = `top` to `low` at t = 0."""

    high: float
    low: float
    top: int = 999

    def __call__(self, t: int) -> float:
        """The value at t."""
        u = min(1.0, max(0.0, t / self.top))
        return self.low * (self.high / self.low) ** u


def rising(t: int) -> float:
    """lambda / delta from 0 to 1 as t falls from 999 to 0 (appendix C.3: "a small value" until it "converges to 1")."""
    return 1 - min(1.0, max(0.0, t / 999))


def always(t: int) -> bool:
    """An M-step at every step."""
    return True


@dataclass(frozen=True, eq=False)
class Aligned:
    """Poses that are re-estimated by gradient at every step (an `Unknown`).

    The M-step needs z_t, so this is an unknown of its own rather than an M-step inside `Estimated`. Gradient steps are
    Adam's, started afresh, so their length is about `rate`, whatever the scale of the loss.

    Args:
        initial: (B, n - 1, 3) of y_2 .. y_n relative to y_1.
        scene: pictures and wanted views.
        gamma: gamma_t of the E-step, for the synthetic views.
        ratio: t -> lambda / delta.
        rate: t -> length of a gradient step, radians.
        iterations: gradient steps per M-step.
        views: targets that one M-step looks at, evenly spread and different ones from step to step; None: all.
        free_radius: below this timestep the radius is estimated too.
        active: at which timesteps the M-step runs.
    """

    initial: Tensor
    scene: Scene
    gamma: Gamma = even
    ratio: Callable[[int], float] = rising
    rate: Callable[[int], float] = Geometric(0.05, 0.0003)
    iterations: int = 3
    views: int | None = 4
    free_radius: int = 500
    active: Callable[[int], bool] = always

    def update(self, e: Estimate) -> Tensor:
        """The poses after an M-step at z_t."""
        if not self.active(e.t) or not e.phi.shape[1]:
            return e.phi
        chosen = self._chosen(e.t)
        scene, z, phi = self.scene.only(chosen), e.z[:, 0].detach()[:, chosen], e.phi
        weights = view_weights(self.gamma(e.t), len(scene.inputs))
        with torch.no_grad():
            parts = [scene.eps(z, e.t, j, phi) if w else None for j, w in enumerate(weights)]
        first, fused = parts[0], mixed(parts, weights)
        assert first is not None  # its weight is never 0
        for j in range(1, len(scene.inputs)):
            phi = self._descend(scene, z, e.t, j, phi, fused, first)
        return phi

    def _chosen(self, t: int) -> list[int]:
        """Indices of the targets that this M-step looks at."""
        total = len(self.scene.targets)
        count = total if self.views is None else min(self.views, total)
        return [(t + i * total // count) % total for i in range(count)]

    def _descend(self, scene: Scene, z: Tensor, t: int, j: int, phi: Tensor, fused: Tensor, first: Tensor) -> Tensor:
        """Gradient steps on the pose of picture j."""
        pose = phi[:, j - 1].detach().clone()
        optimiser = torch.optim.Adam([pose], self.rate(t), betas=(0.7, 0.95), eps=1e-12)
        for _ in range(self.iterations):
            with torch.enable_grad():
                leaf = pose.detach().requires_grad_()
                trial = torch.cat([phi[:, : j - 1], leaf[:, None], phi[:, j:]], 1)
                loss = alignment(scene.eps(z, t, j, trial), fused, first, self.ratio(t))
                (pose.grad,) = torch.autograd.grad(loss.sum(), leaf)
            if t >= self.free_radius:
                pose.grad[:, 2] = 0
            optimiser.step()
            pose.copy_(within(pose, scene.inputs[0].polar))
        return torch.cat([phi[:, : j - 1], pose[:, None], phi[:, j:]], 1)


def within(pose: Tensor, polar: Tensor) -> Tensor:
    """Poses (..., 3) relative to a camera at this polar angle (...), moved to where estimates may be."""
    up = (pose[..., 0] + polar).clamp(*POLES) - polar
    return torch.stack([up, pose[..., 1], pose[..., 2].clamp(-REACH, REACH)], -1)
