"""Objects made of coloured fuzzy balls: their pictures have a formula that is smooth in the camera."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.views.camera import Camera


@dataclass(frozen=True, eq=False)
class Blobs:
    """K balls with Gaussian edges; nearer ones hide farther ones.

    A ray passes ball k at distance d_k and depth tau_k, where the ball covers alpha_k = exp(-d_k^2 / (2 r_k^2)) of it.
    Its colour is the mean of the balls' colours with weights softmax(log alpha_k - tau_k / depth), over white with
    transmittance prod(1 - alpha_k): no sorting and no edges, so gradients in the camera are exact everywhere.

    Args:
        centre: (K, 3), within about 0.5 of the origin.
        radius: (K,).
        colour: (K, 3) in [0, 1].
        depth: how sharply the nearer of two balls wins.
    """

    centre: Tensor
    radius: Tensor
    colour: Tensor
    depth: float = 0.05

    @classmethod
    def random(cls, seed: int, count: int = 12) -> "Blobs":
        """A lopsided object in strong colours, which looks different from every side."""
        g = torch.Generator().manual_seed(seed)
        direction = torch.randn(count, 3, generator=g)
        centre = 0.4 * direction / direction.norm(dim=-1, keepdim=True) * torch.rand(count, 1, generator=g) ** (1 / 3)
        return cls(centre, 0.06 + 0.1 * torch.rand(count, generator=g), torch.rand(count, 3, generator=g).round() * 0.9)

    def turned(self, angle: float) -> "Blobs":
        """The object turned about the z axis by an angle in radians, counter-clockwise seen from above."""
        c, s = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]).to(self.centre)
        return Blobs(self.centre @ turn.T, self.radius, self.colour, self.depth)

    def joined(self, other: "Blobs") -> "Blobs":
        """Both objects as one."""
        both = (self, other)
        centre, radius, colour = (torch.cat([getattr(o, name) for o in both]) for name in ("centre", "radius", "colour"))
        return Blobs(centre, radius, colour, self.depth)

    def render(self, camera: Camera, size: int) -> Tensor:
        """(B, 3, size, size) in [0, 1]: the pictures that B cameras take, differentiable in their poses."""
        origin, direction = camera.rays(size)
        centre = self.centre.to(origin) - origin[:, None]
        tau = torch.einsum("bhwi,bki->bhwk", direction, centre)
        distance = (centre.square().sum(-1)[:, None, None] - tau.square()).clamp(min=0)
        log_alpha = -distance / (2 * self.radius.to(origin).square())
        nearer = (log_alpha - tau / self.depth).softmax(-1)
        through = torch.log1p(-log_alpha.exp().clamp(max=0.999)).sum(-1, keepdim=True).exp()
        return ((1 - through) * (nearer @ self.colour.to(origin)) + through).permute(0, 3, 1, 2)
