"""What a view prior is: a diffusion model of the picture of an object from anywhere, given one picture of it.

Zero123 (Liu et al., "Zero-1-to-3: Zero-shot one image to 3D object", ICCV 2023) is one; LatentDEM's section 4.3 is built on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from blindinv.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Condition:
    """What a view prior keeps of N input images.

    Args:
        features: by name, whatever the prior needs of each image, (N, ...).
        polar: (N,) absolute polar angle of the cameras that took them, radians. Priors with relative poses ignore it;
            Stable Zero123 does not.
    """

    features: Mapping[str, Tensor]
    polar: Tensor

    def __len__(self) -> int:
        return len(self.polar)

    def __getitem__(self, index: Any) -> "Condition":
        """Some of the images, by a slice, a list or a tensor of indices."""
        return Condition({name: f[index] for name, f in self.features.items()}, self.polar[index])

    def repeated(self, count: int) -> "Condition":
        """Every image `count` times in a row."""
        features = {name: f.repeat_interleave(count, 0) for name, f in self.features.items()}
        return Condition(features, self.polar.repeat_interleave(count, 0))

    def at(self, polar: Tensor) -> "Condition":
        """The same images, believed to be taken at these polar angles (N,)."""
        return replace(self, polar=polar)


class ViewPrior(Protocol):
    """A view-conditioned diffusion model.

    Poses are (N, 3): (d_polar, d_azimuth, d_radius) of the wanted view relative to that of the condition, in radians and in
    sides of the object's unit cube, with the signs of `views.camera`.
    """

    @property
    def schedule(self) -> Schedule:
        """Of the diffusion."""
        ...

    @property
    def size(self) -> int:
        """Side in pixels of the square pictures that it knows best."""
        ...

    @property
    def guidance(self) -> float:
        """Weight of classifier-free guidance that it samples best with; 1 is none."""
        ...

    def shape(self, image: tuple[int, ...], /) -> tuple[int, ...]:
        """Shape of z for images of shape (N, 3, H, W)."""
        ...

    def condition(self, image: Tensor, polar: Tensor, /) -> Condition:
        """What to keep of images (N, 3, H, W) in [0, 1] on white, taken at polar angles (N,)."""
        ...

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        """The noise in z (N, C, h, w) at t, seen from `pose`; differentiable in the pose and in cond.polar.

        Args:
            guidance: of classifier-free guidance; 1 is none and costs one evaluation instead of two.
        """
        ...

    def encode(self, x: Tensor, /) -> Tensor:
        """Images in [0, 1] -> z."""
        ...

    def decode(self, z: Tensor, /) -> Tensor:
        """z -> images, about [0, 1], not clipped."""
        ...


def mean_of(eps: Tensor, z: Tensor, abar: float) -> Tensor:
    """E[z_0 | z_t] from the noise: (z_t - sqrt(1 - abar) eps) / sqrt(abar)."""
    return (z - (1 - abar) ** 0.5 * eps) / abar**0.5


def noise_of(mean: Tensor, z: Tensor, abar: float) -> Tensor:
    """The noise from E[z_0 | z_t]: (z_t - sqrt(abar) z_0) / sqrt(1 - abar)."""
    return (z - abar**0.5 * mean) / (1 - abar) ** 0.5


def horizon(count: int, like: Tensor) -> Tensor:
    """(count,) polar angles of cameras at the height of the object, pi / 2."""
    return torch.full((count,), torch.pi / 2, dtype=like.dtype, device=like.device)
