"""An exact view prior, for tests and for teaching: it knows the object."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindinv.priors.view import Condition, noise_of
from blindinv.schedule import Schedule
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera


@dataclass(frozen=True, eq=False)
class OracleViews:
    """Zero123 as it would be if it were perfect, on pixels: z = 2 x - 1.

    It knows the object and the cameras of the pictures it may be given, and answers with the picture m from anywhere:
    z_0 ~ N(m, w^2), so that with v_t = abar_t w^2 + 1 - abar_t

    E[z_0 | z_t] = m + sqrt(abar_t) w^2 / v_t (z_t - sqrt(abar_t) m),
    eps(z_t)     = (z_t - sqrt(abar_t) E[z_0 | z_t]) / sqrt(1 - abar_t);

    for w = 0 this is (z_t - sqrt(abar_t) m) / sqrt(1 - abar_t). Only differences of poses enter, as in Zero123.

    Args:
        thing: the object.
        camera: B cameras; pictures from them, and only those, are recognised.
        size: of the pictures, pixels.
        width: w / 2, standard deviation of the views on [0, 1].
        schedule: of the diffusion.
        guidance: changes nothing, certain knowledge needs none.
    """

    thing: Blobs
    camera: Camera
    size: int = 32
    width: float = 0.0
    schedule: Schedule = field(default_factory=Schedule.scaled_linear)
    guidance: float = 1.0

    def pictures(self) -> Tensor:
        """(B, 3, size, size): what the cameras see."""
        return self.thing.render(self.camera, self.size)

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (N, 3, size, size): the same."""
        return tuple(image)

    def condition(self, image: Tensor, polar: Tensor) -> Condition:
        """Recognises the pictures.

        Raises:
            ValueError: one is not from any of the cameras.
        """
        distance = (image[:, None] - self.pictures().to(image)[None]).square().mean((2, 3, 4))
        nearest, which = distance.min(1)
        if (nearest > 1e-4).any():
            raise ValueError("the oracle only recognises pictures that its cameras took")
        return Condition({"camera": self.camera.pose.to(image)[which]}, polar)

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        """The noise in z; certain knowledge needs no guidance, and guidance changes nothing."""
        a, v = self.schedule.at(t), (2 * self.width) ** 2
        view = Camera.of(cond.features["camera"] + pose, self.camera.fov)
        m = self.encode(self.thing.render(view, self.size))
        return noise_of(m + a**0.5 * v / (a * v + 1 - a) * (z - a**0.5 * m), z, a)

    def encode(self, x: Tensor) -> Tensor:
        """Images in [0, 1] -> z in [-1, 1]."""
        return 2 * x - 1

    def decode(self, z: Tensor) -> Tensor:
        """z -> images, about [0, 1], not clipped."""
        return 0.5 + 0.5 * z


def snapshots(seed: int, count: int = 2, size: int = 32, spread: float = 0.7, gap: float = torch.pi) -> OracleViews:
    """An object and cameras that took pictures of it: radius 1.5 to 2.1, elevations within `spread` radians of the horizon.

    Args:
        seed: of the object and the cameras.
        count: number of cameras.
        size: of the pictures.
        spread: the largest elevation, radians.
        gap: the largest difference of azimuth to the first camera, radians.
    """
    u = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed + 1_000_003)) * 2 - 1
    azimuth = gap * u[:, 1]
    azimuth = torch.cat([azimuth[:1], azimuth[:1] + azimuth[1:]])
    pose = torch.stack([torch.pi / 2 + spread * u[:, 0], azimuth, 1.8 + 0.15 * u[:, 2]], -1)
    return OracleViews(Blobs.random(seed), Camera.of(pose), size)
