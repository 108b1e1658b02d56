"""What `blindinv bench views` asks: pictures of objects that no prior has seen, and how near novel views and poses come.

Object i of a family has seed `BENCHMARK` + i. Camera 1 is anywhere at an elevation of -15 to 50 degrees; the azimuth of camera 2
differs from it by a gap that goes in turn through `GAPS`, to either side; camera 3 is on the other side, at the next gap. Eight
target cameras are at least 20 degrees from all three, at least three of them far from camera 1.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.metrics import psnr, ssim
from blindinv.training.view_data import random_cameras
from blindinv.views.camera import Camera, camera_error
from blindinv.views.objects import BENCHMARK, Family, Thing
from blindinv.views.render import render

GAPS = ((30, 60), (60, 120), (120, 180))
"""Degrees of azimuth between pictures 1 and 2."""
TARGETS, CLEAR, FAR, LEAST_FAR = 8, 20.0, 60.0, 3
"""Novel views, their least distance to all pictures, what is far from picture 1, and how many are: degrees of rotation."""

Figures = dict[str, float]


@dataclass(frozen=True, eq=False)
class ViewCase:
    """One object.

    Attributes:
        name: unique in its run.
        index: from 0.
        inputs: (3, 3, S, S) in [0, 1] on white.
        targets: (V, 4, S, S) in [0, 1]: on white, and what the object covers.
        camera: of the inputs.
        wanted: of the targets.
    """

    name: str
    index: int
    inputs: Tensor
    targets: Tensor
    camera: Camera
    wanted: Camera

    @property
    def poses(self) -> Tensor:
        """(2, 3): the true ones of pictures 2 and 3 relative to picture 1."""
        return self.camera[1:].relative_to(self.camera[[0, 0]])

    @property
    def goals(self) -> Tensor:
        """(V, 3): what is wanted, relative to picture 1."""
        return self.wanted.relative_to(self.camera[[0] * len(self.wanted)])

    @property
    def distance(self) -> Tensor:
        """(V,) degrees of rotation from picture 1 to the targets."""
        return camera_error(self.wanted, self.camera[[0] * len(self.wanted)])

    def to(self, device: str) -> "ViewCase":
        """The same on a device."""
        camera, wanted = (Camera.of(c.pose.to(device), c.fov) for c in (self.camera, self.wanted))
        return ViewCase(self.name, self.index, self.inputs.to(device), self.targets.to(device), camera, wanted)

    @property
    def sha256(self) -> str:
        """Of the pictures in 8 bits and of the cameras to a thousandth of a radian."""
        pictures = torch.cat([self.inputs.flatten(), self.targets.flatten()]).mul(255).round().to(torch.uint8)
        poses = torch.cat([self.camera.pose, self.wanted.pose]).mul(1000).round().int()
        return hashlib.sha256(pictures.cpu().numpy().tobytes() + poses.cpu().numpy().tobytes()).hexdigest()


def input_cameras(index: int, seed: int = 0) -> Camera:
    """The three cameras of object `index`."""
    rng = torch.Generator().manual_seed(BENCHMARK + seed * 1_000_003 + index)
    pose = random_cameras(3, rng).pose
    side = 1 if torch.rand((), generator=rng) < 0.5 else -1
    for j, (low, high) in ((1, GAPS[index % 3]), (2, GAPS[(index + 1) % 3])):
        gap = low + (high - low) * float(torch.rand((), generator=rng))
        pose[j, 1] = pose[0, 1] + (side if j == 1 else -side) * math.radians(gap)
    return Camera.of(pose)


def target_cameras(camera: Camera, index: int, seed: int = 0, count: int = TARGETS) -> Camera:
    """Target cameras of object `index`, away from its pictures."""
    rng = torch.Generator().manual_seed(2 * BENCHMARK + seed * 1_000_003 + index)
    while True:
        drawn = random_cameras(16 * count, rng)
        nearest = torch.stack([camera_error(drawn, camera[[j] * len(drawn)]) for j in range(len(camera))]).amin(0)
        chosen = drawn[(nearest >= CLEAR).nonzero()[:count, 0]]
        far = camera_error(chosen, camera[[0] * len(chosen)]) > FAR
        if len(chosen) == count and int(far.sum()) >= LEAST_FAR:
            return chosen


def view_case(index: int, family: Family, size: int, seed: int = 0) -> ViewCase:
    """Object `index` of a family, in pictures of `size` pixels.

    Raises:
        ImportError: embreex is not installed.
    """
    thing, camera = Thing.random(BENCHMARK + index, family), input_cameras(index, seed)
    wanted = target_cameras(camera, index, seed)
    pictures = render(thing, Camera.of(torch.cat([camera.pose, wanted.pose])), size)
    return ViewCase(f"{family}-{index:03d}", index, pictures[:3, :3], pictures[3:], camera, wanted)


def score_views(case: ViewCase, novel: Tensor) -> tuple[Figures, dict[str, list[float]]]:
    """Means over all targets and over those far from picture 1, and the curve over the targets by distance.

    PSNR and SSIM are of the whole picture, most of which is white; PSNR in the box, of what is in the bounding box of the true
    object.

    Args:
        case: with the truth.
        novel: (V, 3, S, S).
    """
    truth, far = case.targets[:, :3], case.distance > FAR
    boxes = [box(alpha) for alpha in case.targets[:, 3]]
    cut = [psnr(n[None, :, r, c], t[None, :, r, c]) for n, t, (r, c) in zip(novel, truth, boxes, strict=True)]
    each = {"psnr": psnr(novel, truth), "ssim": ssim(novel, truth), "psnr_box": torch.cat(cut)}
    figures = {k: float(v.mean()) for k, v in each.items()}
    figures |= {f"{k}_far": float(v[far].mean()) for k, v in each.items() if far.any()}
    order = case.distance.argsort()
    curves = {"distance": case.distance[order].tolist(), "psnr": each["psnr"][order].tolist()}
    return figures, curves


def box(alpha: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of an object's coverage (S, S); everything where there is none."""
    rows, columns = alpha.amax(1).nonzero(), alpha.amax(0).nonzero()
    if not len(rows):
        return slice(None), slice(None)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def pose_errors(case: ViewCase, poses: Tensor) -> Tensor:
    """(n - 1,) degrees between the found and the true orientation of cameras 2 .. n.

    Args:
        case: with the truth.
        poses: (n - 1, 3) relative to camera 1.
    """
    count = len(poses)
    return camera_error(case.camera[[0] * count].moved(poses), case.camera[1 : count + 1])


def recall(errors: Sequence[float], degrees: float) -> float:
    """Per cent of the errors that are at most so large."""
    return 100 * sum(e <= degrees for e in errors) / len(errors)
