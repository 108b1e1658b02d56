"""What is asked of a view prior about B objects: n pictures of each, of unknown relative poses, and V views that are wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindinv.priors.view import Condition, ViewPrior, mean_of


@dataclass(frozen=True, eq=False)
class Scene:
    """Pictures y_1 .. y_n of B objects, and the views of each that are wanted, relative to y_1.

    Poses are (B, n - 1, 3): (d_polar, d_azimuth, d_radius) of y_2 .. y_n relative to y_1. (The paper's phi_2 leads from
    y_2 to one target; with the pose of y_2 itself, one unknown serves all targets, and target T is seen from y_j at T - phi_j.)

    Args:
        prior: the view prior.
        inputs: n conditions of B pictures each; inputs[0].polar is the absolute polar angle of y_1.
        targets: (V, 3) relative to y_1.
        guidance: of classifier-free guidance, for sampling; poses are estimated without.
        chunk: evaluations of the prior at a time.
    """

    prior: ViewPrior
    inputs: tuple[Condition, ...]
    targets: Tensor
    guidance: float = 1.0
    chunk: int = 32

    @classmethod
    def of(cls, prior: ViewPrior, y: Tensor, targets: Tensor, polar: Tensor, guidance: float = 1.0, chunk: int = 32) -> "Scene":
        """From pictures (B, n, 3, H, W) in [0, 1] and the polar angles (B,) of the first ones."""
        inputs = tuple(prior.condition(y[:, j], polar) for j in range(y.shape[1]))
        return cls(prior, inputs, targets.to(y), guidance, chunk)

    def only(self, views: Sequence[int]) -> "Scene":
        """The same with some of the targets."""
        return replace(self, targets=self.targets[list(views)])

    def eps(self, z: Tensor, t: int, j: int, phi: Tensor, guidance: float = 1.0) -> Tensor:
        """The noise in all views as picture j (from 0) tells it; differentiable in phi.

        Args:
            z: (B, V, C, h, w).
            t: timestep.
            j: which picture.
            phi: (B, n - 1, 3).
            guidance: of classifier-free guidance.

        Returns:
            (B, V, C, h, w).
        """
        b, v = z.shape[:2]
        own = phi[:, j - 1] if j else torch.zeros_like(self.targets[:1]).expand(b, 3)
        pose = (self.targets - own[:, None]).flatten(0, 1)
        cond = self.inputs[j].at(self.inputs[0].polar + own[:, 0]).repeated(v)
        flat = z.flatten(0, 1)
        out = []
        for i in range(0, b * v, self.chunk):
            piece = slice(i, i + self.chunk)
            out.append(self.prior.eps(flat[piece], t, cond[piece], pose[piece], guidance))
        return torch.cat(out).view_as(z)

    def mean(self, z: Tensor, t: int, j: int, phi: Tensor) -> Tensor:
        """E[z_0 | z_t, y_j, phi_j] of all views, (B, V, C, h, w), with guidance."""
        return mean_of(self.eps(z, t, j, phi, self.guidance), z, self.prior.schedule.at(t))
