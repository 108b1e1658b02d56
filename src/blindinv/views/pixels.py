"""The pixels of all views at once, and the rays that belong to them."""

import torch
from torch import Tensor

from blindinv.views.camera import Camera
from blindinv.views.volume import crossing


class Pixels:
    """Rays, colours and masks of all views.

    Args:
        views: (V, 3, S, S).
        masks: (V, 1, S, S) in [0, 1].
        camera: V cameras.
        extent: rays that miss the cube [-extent, extent]^3 are never drawn.
    """

    def __init__(self, views: Tensor, masks: Tensor, camera: Camera, extent: float) -> None:
        size = views.shape[-1]
        origin, direction = camera.rays(size)
        self.camera, self.per_view = camera, size * size
        self.local = (direction[0].reshape(-1, 3) @ camera.axes()[0]).detach()
        self.colour = views.permute(0, 2, 3, 1).reshape(-1, 3)
        self.mask = masks.reshape(-1)
        _, _, hit = crossing(origin[:, None, None].expand_as(direction).reshape(-1, 3), direction.reshape(-1, 3), extent)
        self.inside = (self.mask > 0.5).nonzero()[:, 0]
        self.outside = ((self.mask <= 0.5) & hit).nonzero()[:, 0]

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """(count,) indices of pixels, two thirds of them on the object."""
        shares = (count * 2 // 3, count - count * 2 // 3)
        both = zip((self.inside, self.outside), shares, strict=True)
        return torch.cat([of[torch.randint(len(of), (n,), generator=rng, device=rng.device)] for of, n in both if len(of)])

    def rays(self, index: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """Origins and directions (N, 3) of pixels."""
        view, axes = index // self.per_view, camera.axes()
        direction = torch.einsum("nij,nj->ni", axes[view], self.local[index % self.per_view])
        return camera.position[view], direction
