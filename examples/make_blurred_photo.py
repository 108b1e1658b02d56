"""A sharp photo becomes a shaken one: `python examples/make_blurred_photo.py out/demo`.

Writes sharp.png, shaken.jpg and kernel.npy. The scene goes on outside the frame, as in a real photo: the whole picture is
blurred and its margin, where pixels from outside would be missing, is cut off.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from blindinv import FreeConvolution, motion_kernels

KERNEL_SIZE = 31
NOISE = 0.01
HEIGHT = 384


def photograph() -> torch.Tensor:
    """Eileen Collins (NASA, public domain; it comes with scikit-image), (1, 3, HEIGHT, HEIGHT) in [0, 1]."""
    image = Image.fromarray(data.astronaut()).resize((HEIGHT, HEIGHT), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def save(path: Path, x: torch.Tensor) -> None:
    pixels = (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path, **({"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(0)
    scene, blur = photograph(), FreeConvolution()
    kernel = motion_kernels(1, KERNEL_SIZE, intensity=0.5, generator=rng)
    frame = (scene.shape[-2] - KERNEL_SIZE, scene.shape[-1] - KERNEL_SIZE)
    y = blur(scene, kernel, frame)
    y = y + NOISE * torch.randn(y.shape, generator=rng)
    save(folder / "sharp.png", blur.frame(scene, frame))
    save(folder / "shaken.jpg", y)
    np.save(folder / "kernel.npy", kernel[0, 0].numpy())
    print(f"made {folder / 'shaken.jpg'} ({frame[1]}x{frame[0]}, {KERNEL_SIZE}x{KERNEL_SIZE} kernel, noise {NOISE})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
