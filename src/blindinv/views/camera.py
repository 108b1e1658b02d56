"""Cameras that look at the origin: LatentDEM's and Zero123's spherical poses, and everybody else's matrices.

World: right-handed, z up, the object at the origin, normalised to about a unit cube. A camera is at

    radius (sin(polar) cos(azimuth), sin(polar) sin(azimuth), cos(polar)),

looks at the origin and has its right-hand side horizontal. Angles are in radians. Signs, as the camera's owner sees them:

    polar     0 is above the object, pi / 2 its height, pi below; a smaller polar angle moves the camera up
    azimuth   counter-clockwise seen from above; a larger azimuth moves the camera to its own right
    radius    a larger radius moves the camera away

Elevation, which people say more often, is pi / 2 - polar. Some NeRF code bases turn the azimuth the other way round.
Relative poses are differences (d_polar, d_azimuth, d_radius), target minus source (LatentDEM, appendix C.1).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FOV = 2 * math.atan(16 / 35)
"""Field of view of the renders that Zero123 was trained on, 49.134 degrees: a sensor of 32 mm behind a lens of 35 mm."""
RADIUS = 1.8
"""A radius in the middle of those renders (1.5 to 2.2)."""
OPENCV = (1.0, -1.0, -1.0, 1.0)
"""Axes of an OpenCV camera (x right, y down, z forward) in those of an OpenGL camera (x right, y up, z back)."""


def wrapped(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


@dataclass(frozen=True, eq=False)
class Camera:
    """B cameras that look at the origin.

    Args:
        polar: (B,) radians from +z.
        azimuth: (B,) radians from +x towards +y.
        radius: (B,) distance to the origin, in sides of the object's unit cube.
        fov: field of view of the image's width and height, radians.
    """

    polar: Tensor
    azimuth: Tensor
    radius: Tensor
    fov: float = FOV

    @classmethod
    def degrees(
        cls, elevation: Sequence[float], azimuth: Sequence[float], radius: Sequence[float] | float = RADIUS, fov: float = FOV
    ) -> "Camera":
        """From elevations (90 is above the object) and azimuths in degrees; float32.

        Raises:
            ValueError: as many elevations as azimuths are needed.
        """
        if len(elevation) != len(azimuth):
            raise ValueError(f"{len(elevation)} elevations do not go with {len(azimuth)} azimuths")
        up, around = torch.tensor(list(elevation)).float(), torch.tensor(list(azimuth)).float()
        away = torch.as_tensor(radius).float().expand(len(up))
        return cls(torch.deg2rad(90 - up), torch.deg2rad(around), away, fov)

    @classmethod
    def of(cls, pose: Tensor, fov: float = FOV) -> "Camera":
        """From (B, 3): polar, azimuth, radius."""
        return cls(pose[..., 0], pose[..., 1], pose[..., 2], fov)

    @property
    def pose(self) -> Tensor:
        """(B, 3): polar, azimuth, radius."""
        return torch.stack([self.polar, self.azimuth, self.radius], -1)

    def __len__(self) -> int:
        return len(self.polar)

    def __getitem__(self, index: Any) -> "Camera":
        """Some of the cameras, by a slice, a list or a tensor of indices."""
        return Camera.of(self.pose[index], self.fov)

    def moved(self, by: Tensor) -> "Camera":
        """The cameras at a relative pose (B, 3) or (3,); differentiable in it."""
        return Camera.of(self.pose + by, self.fov)

    def relative_to(self, other: "Camera") -> Tensor:
        """(B, 3): self minus other, the azimuth in [-pi, pi). LatentDEM, appendix C.1."""
        polar, azimuth, radius = (self.pose - other.pose).unbind(-1)
        return torch.stack([polar, wrapped(azimuth), radius], -1)

    @property
    def position(self) -> Tensor:
        """(B, 3) in the world."""
        return self.radius[:, None] * self.axes()[..., 2]

    def axes(self) -> Tensor:
        """(B, 3, 3): right, up and back of the cameras as columns; smooth everywhere, the poles included."""
        s, c, sa, ca = self.polar.sin(), self.polar.cos(), self.azimuth.sin(), self.azimuth.cos()
        right = torch.stack([-sa, ca, torch.zeros_like(s)], -1)
        up = torch.stack([-c * ca, -c * sa, s], -1)
        back = torch.stack([s * ca, s * sa, c], -1)
        return torch.stack([right, up, back], -1)

    def opengl(self) -> Tensor:
        """(B, 4, 4) camera to world, camera axes x right, y up, z back (OpenGL, Blender, NeRF)."""
        top = torch.cat([self.axes(), self.position[..., None]], -1)
        return torch.cat([top, top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(top), 1, 4)], -2)

    def opencv(self) -> Tensor:
        """(B, 4, 4) world to camera, camera axes x right, y down, z forward (OpenCV, COLMAP)."""
        return torch.linalg.inv(self.opengl() * self.polar.new_tensor(OPENCV))

    @classmethod
    def from_opengl(cls, matrix: Tensor, fov: float = FOV, tolerance: float = 1e-3) -> "Camera":
        """From (B, 4, 4) camera to world matrices.

        Args:
            tolerance: how far, in radians, a camera may be turned away from the origin or rolled.

        Raises:
            ValueError: a camera that does not look at the origin, is rolled, or sits at the origin.
        """
        position, right = matrix[:, :3, 3], matrix[:, :3, 0]
        radius = position.norm(dim=-1)
        flat = position[:, :2].norm(dim=-1)
        camera = cls(torch.atan2(flat, position[:, 2]), torch.atan2(-right[:, 0], right[:, 1]), radius, fov)
        off = rotation_between(camera.axes(), matrix[:, :3, :3]) * (radius > 0) + math.pi * (radius <= 0)
        if not (off <= tolerance).all():
            worst = int(off.nan_to_num(math.inf).argmax())
            raise ValueError(
                f"camera {worst} is turned by {math.degrees(float(off[worst])):.2f} degrees against one that stands "
                "upright and looks at the origin; only such cameras have a spherical pose"
            )
        return camera

    @classmethod
    def from_opencv(cls, matrix: Tensor, fov: float = FOV, tolerance: float = 1e-3) -> "Camera":
        """From (B, 4, 4) world to camera matrices; otherwise as `from_opengl`."""
        return cls.from_opengl(torch.linalg.inv(matrix) * matrix.new_tensor(OPENCV), fov, tolerance)

    def intrinsics(self, size: int) -> Tensor:
        """(3, 3) of a square image of `size` pixels; the centre of the first pixel is at (0.5, 0.5)."""
        focal, middle = size / 2 / math.tan(self.fov / 2), size / 2
        return torch.tensor([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])

    def rays(self, size: int) -> tuple[Tensor, Tensor]:
        """Origins (B, 3) and unit directions (B, size, size, 3) in the world, through the centres of the pixels."""
        at = (torch.arange(size, device=self.polar.device) + 0.5) * 2 / size - 1
        at = at.to(self.polar) * math.tan(self.fov / 2)
        y, x = torch.meshgrid(-at, at, indexing="ij")
        local = torch.stack([x, y, -torch.ones_like(x)], -1)
        world = torch.einsum("bij,hwj->bhwi", self.axes(), local / local.norm(dim=-1, keepdim=True))
        return self.position, world


def rotation_between(a: Tensor, b: Tensor) -> Tensor:
    """(B,) angle in radians of the rotation between rotation matrices (B, 3, 3); accurate for small angles too."""
    return 2 * torch.asin(((a - b).flatten(-2).norm(dim=-1) / 8**0.5).clamp(max=1))


def camera_error(estimate: Camera, truth: Camera) -> Tensor:
    """(B,) degrees between the orientations of cameras, the usual error of a pose (radius apart)."""
    return torch.rad2deg(rotation_between(estimate.axes().double(), truth.axes().double()))


def orbit(count: int, elevation: float = 0.0, radius: float = RADIUS, start: float = 0.0, fov: float = FOV) -> Camera:
    """`count` cameras around the object, evenly spaced, at an elevation and from an azimuth in degrees."""
    return Camera.degrees([elevation] * count, [start + 360 * i / count for i in range(count)], radius, fov)


def transforms(camera: Camera, names: Sequence[str], size: int) -> dict[str, Any]:
    """What NeRF's transforms.json holds: one frame per camera (OpenGL camera to world), and the field of view.

    Args:
        camera: B cameras.
        names: B file names of their images.
        size: of the images, pixels.

    Raises:
        ValueError: not one name per camera.
    """
    if len(names) != len(camera):
        raise ValueError(f"{len(names)} file names do not go with {len(camera)} cameras")
    focal = float(camera.intrinsics(size)[0, 0])
    frames = [
        {"file_path": name, "transform_matrix": matrix} for name, matrix in zip(names, camera.opengl().tolist(), strict=True)
    ]
    lens = {"camera_angle_x": camera.fov, "camera_angle_y": camera.fov, "fl_x": focal, "fl_y": focal}
    return {**lens, "cx": size / 2, "cy": size / 2, "w": size, "h": size, "frames": frames}


def from_transforms(content: Mapping[str, Any], tolerance: float = 1e-3) -> tuple[Camera, list[str]]:
    """Cameras and file names of a transforms.json; float64.

    Args:
        content: the parsed file, with camera_angle_x and frames.
        tolerance: as in `Camera.from_opengl`.

    Raises:
        ValueError: entries are missing, or the cameras have no spherical pose.
    """
    try:
        fov, frames = float(content["camera_angle_x"]), list(content["frames"])
        names = [str(frame["file_path"]) for frame in frames]
        matrix = torch.tensor([frame["transform_matrix"] for frame in frames], dtype=torch.float64)
    except KeyError as error:
        raise ValueError(f"transforms.json has no entry {error}") from error
    if matrix.shape[1:] != (4, 4):
        raise ValueError("transforms.json needs frames with a transform_matrix of 4 x 4 numbers")
    return Camera.from_opengl(matrix, fov, tolerance), names
