"""An M-step for any differentiable forward model: descent on the residual, and back to what phi may be."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.kernels.measure import normalize
from blindinv.operators.noise import whiten
from blindinv.protocols import Forward

SMALL = 1e-2


@dataclass(frozen=True)
class Gradient:
    """phi <- P(phi' - eta grad 1/2 |y - A(x, phi')|^2), repeated, from phi' with Nesterov's momentum.

    |.| is the weighted norm where the noise level is a map. eta is the exact minimum along the gradient g of a model that is
    linear in phi, |g|^2 / |dA(x, phi + s g) / ds|^2, the derivative by a small difference, for each sample its own. Where
    the closed form of `HQS` exists it is better; this one asks nothing of A but gradients.

    Args:
        A: forward model.
        project: P, onto what phi may be; kernels: not negative, sum 1.
        iterations: of descent.
    """

    A: Forward
    project: Callable[[Tensor], Tensor] = normalize
    iterations: int = 20

    def __call__(self, y: Tensor, x: Tensor, phi: Tensor, t: int, sigma: Tensor) -> Tensor:
        """See `MStep`."""
        frame, dims = (y.shape[-2], y.shape[-1]), tuple(range(1, phi.ndim))

        def shown(phi: Tensor) -> Tensor:
            return whiten(self.A.frame(self.A(x, phi), frame), sigma)

        target, phi = whiten(y, sigma), phi.detach()
        before = phi
        for i in range(self.iterations):
            with torch.enable_grad():
                at = (phi + i / (i + 3) * (phi - before)).requires_grad_()
                now = shown(at)
                (g,) = torch.autograd.grad(0.5 * (now - target).square().sum(), at)
            with torch.no_grad():
                size = g.square().sum(dims, keepdim=True).clamp(min=1e-30)
                small = SMALL * (at.square().sum(dims, keepdim=True) / size).sqrt().clamp(min=1e-12)
                along = ((shown(at + small * g) - now) / small.view(-1, 1, 1, 1)).square().sum((1, 2, 3))
                before, phi = phi, self.project(at - size / along.view_as(size).clamp(min=1e-30) * g)
        return phi
