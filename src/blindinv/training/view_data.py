"""Pictures of procedural objects to train view priors on: rendered once into shards, drawn from them in random pairs.

A shard is one safetensors file: pictures (N, V, 4, S, S), uint8, the object on white and its coverage, and pose (N, V, 3),
float32: polar, azimuth and radius of the cameras. It has its name only when it is complete, so a run that was stopped goes on,
and a training can start before the last one is there.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from blindinv.training.loop import write_atomically
from blindinv.views.camera import Camera
from blindinv.views.objects import TRAINING, Family, Thing
from blindinv.views.render import render

SHARD = 256
"""Objects per file."""
ELEVATION = (-15.0, 50.0)
"""Degrees, uniform."""
RADII = (1.7, 2.0)
"""Uniform."""


def random_cameras(count: int, generator: torch.Generator) -> Camera:
    """Where the pictures are taken: anywhere around, elevation in `ELEVATION`, radius in `RADII`."""
    u = torch.rand(count, 3, generator=generator)
    low, high = (math.radians(90 - e) for e in reversed(ELEVATION))
    start = torch.tensor([low, -math.pi, RADII[0]])
    return Camera.of(start + u * (torch.tensor([high, math.pi, RADII[1]]) - start))


def sample(seed: int, views: int, size: int, family: Family = "blocks") -> tuple[Tensor, Tensor]:
    """Pictures (V, 4, size, size), uint8, and poses (V, 3) of the object of a seed."""
    camera = random_cameras(views, torch.Generator().manual_seed(seed))
    pictures = render(Thing.random(seed, family), camera, size)
    return (pictures * 255).round().to(torch.uint8), camera.pose


def render_dataset(
    out: Path,
    objects: int,
    views: int,
    size: int,
    seed: int = TRAINING,
    family: Family = "blocks",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Render objects of seeds `seed`, `seed` + 1, ... into shards; those that are there already are kept.

    Args:
        out: folder of the shards, made if need be.
        objects: how many.
        views: pictures of each.
        size: of the pictures, pixels.
        seed: of the first object.
        family: of objects.
        report: called with objects done and their total, after every object.

    Raises:
        ValueError: a shard that is there was made with other settings.
        ImportError: embreex is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    for first in range(0, objects, SHARD):
        count = min(SHARD, objects - first)
        path = out / f"shard-{first // SHARD:05d}.safetensors"
        wanted = dict(family=family, seed=seed + first, objects=count, views=views, size=size)
        if path.exists():
            same_settings(path, wanted)
            report(first + count, objects)
            continue
        rows = []
        for i in range(count):
            rows.append(sample(seed + first + i, views, size, family))
            report(first + i + 1, objects)
        pictures, pose = (torch.stack(part) for part in zip(*rows, strict=True))
        save_shard(path, {"pictures": pictures, "pose": pose}, wanted)


def save_shard(path: Path, tensors: dict[str, Tensor], made: Mapping[str, object]) -> None:
    """Write a shard, atomically, with the settings that it was made with."""
    write_atomically(path, lambda p: save_file(tensors, p, metadata={"made": json.dumps(dict(made))}))


def same_settings(path: Path, wanted: Mapping[str, object]) -> None:
    """Check that a shard was made with the settings that are wanted now.

    Raises:
        ValueError: it was not.
    """
    with safe_open(path, "pt") as file:
        made = json.loads((file.metadata() or {}).get("made", "{}"))
    if made != wanted:
        raise ValueError(f"{path} was made with {made}, and {wanted} is wanted; choose another folder or the same settings")


@dataclass(frozen=True, eq=False)
class Shards:
    """Objects in memory-mapped shards.

    Args:
        pictures: (N, V, 4, S, S) of each shard, uint8.
        pose: (N, V, 3) of each shard.
        folder: where they are.
    """

    pictures: tuple[Tensor, ...]
    pose: tuple[Tensor, ...]
    folder: Path

    @classmethod
    def open(cls, folder: Path | str) -> "Shards":
        """The shards that are in a folder now; open it again for those that are written later.

        Raises:
            ValueError: there is none yet.
        """
        pictures, pose = [], []
        for path in sorted(Path(folder).glob("shard-*.safetensors")):
            with safe_open(path, "pt") as file:
                pictures.append(file.get_tensor("pictures"))
                pose.append(file.get_tensor("pose"))
        if not pictures:
            raise ValueError(f"no shards in {folder}; they are rendered first")
        return cls(tuple(pictures), tuple(pose), Path(folder))

    def __len__(self) -> int:
        """Number of objects."""
        return sum(map(len, self.pose))

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.pictures[0].shape[-1]

    @property
    def views(self) -> int:
        """Pictures of each object."""
        return self.pictures[0].shape[1]

    def views_of(self, objects: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Some pictures of some objects.

        Args:
            objects: (B,) from 0.
            views: (B, K) of each object, from 0.

        Returns:
            pictures (B, K, 4, S, S) in [0, 1], on white, with their coverage; poses (B, K, 3).
        """
        ends = np.cumsum([len(p) for p in self.pose])
        at = [(int(s), i - int(ends[s - 1] if s else 0)) for i in objects.tolist() for s in [np.searchsorted(ends, i, "right")]]
        pictures = torch.stack([self.pictures[s][i][v] for (s, i), v in zip(at, views, strict=True)])
        pose = torch.stack([self.pose[s][i][v] for (s, i), v in zip(at, views, strict=True)])
        return pictures.float() / 255, pose

    def draw(self, batch: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` different pictures of each of `batch` random objects, drawn with replacement; otherwise as `views_of`."""
        objects = torch.randint(len(self), (batch,), generator=generator)
        order = torch.rand(batch, self.views, generator=generator).argsort(1)
        return self.views_of(objects, order[:, :count])
