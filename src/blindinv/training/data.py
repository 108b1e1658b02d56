"""Photos for training: a folder becomes one tensor list in memory, crops come from a seeded generator."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


def list_images(folder: str | Path) -> list[Path]:
    """Every image file directly in `folder`, sorted by name.

    Raises:
        ValueError: there is none.
    """
    files = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"no images in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
    return files


def load_photos(folder: str | Path, min_side: int = 128, max_pixels: int = 4_000_000) -> list[Tensor]:
    """The photos of a folder as uint8 (3, H, W); small ones (below `min_side`) left out, large ones shrunk to `max_pixels`."""
    photos = []
    for path in list_images(folder):
        with Image.open(path) as file:
            image = file.convert("RGB")
            if image.width * image.height > max_pixels:
                image.thumbnail((int(max_pixels**0.5),) * 2)
            if min(image.size) >= min_side:
                photos.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous())
    if not photos:
        raise ValueError(f"no photo in {folder} is at least {min_side} pixels on its short side")
    return photos


def randint(high: int, generator: torch.Generator) -> int:
    """A Python int in [0, high)."""
    return int(torch.randint(high, (), generator=generator))


def crop_batch(
    photos: list[Tensor], batch: int, size: int, generator: torch.Generator, scales: tuple[float, float] = (0.6, 1.0)
) -> Tensor:
    """Random crops (batch, 3, size, size) in [-1, 1]: position, scale (log-uniform), mirror and transposition are random."""
    crops = torch.empty(batch, 3, size, size)
    for i in range(batch):
        photo = photos[randint(len(photos), generator)]
        scale = scales[0] * (scales[1] / scales[0]) ** float(torch.rand((), generator=generator))
        side = min(round(size / scale), *photo.shape[1:])
        y, x = randint(photo.shape[1] - side + 1, generator), randint(photo.shape[2] - side + 1, generator)
        crop = photo[:, y : y + side, x : x + side].float() / 127.5 - 1
        if side != size:
            crop = F.interpolate(crop[None], (size, size), mode="bicubic", antialias=True, align_corners=False)[0].clamp(-1, 1)
        flips = randint(8, generator)
        crop = crop.transpose(1, 2) if flips & 1 else crop
        crops[i] = crop.flip([d for d, bit in ((1, 2), (2, 4)) if flips & bit])
    return crops
