"""A sharp photo as a telescope sees it through hot air: `python examples/make_turbulent_photo.py out/turbulence`.

Writes sharp.png, turbulent.png, kernel.npy and tilt.npy. Then:

    blindinv turbulence out/turbulence/turbulent.png -o out --kernel-size 31 \\
        --truth out/turbulence/sharp.png --true-kernel out/turbulence/kernel.npy --true-tilt out/turbulence/tilt.npy
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.tilt import tilt_maps
from blindinv.operators.convolution import FreeConvolution
from blindinv.operators.turbulence import Turbulence

KERNEL_SIZE, STD, NOISE, HEIGHT = 31, 2.0, 0.02, 320


def photograph() -> torch.Tensor:
    """Eileen Collins (NASA, public domain; it comes with scikit-image), (1, 3, HEIGHT, HEIGHT) in [0, 1]."""
    image = Image.fromarray(data.astronaut()).resize((HEIGHT, HEIGHT), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def save(path: Path, x: torch.Tensor) -> None:
    Image.fromarray((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(0)
    scene, air = photograph(), Turbulence(FreeConvolution())
    phi = {"kernel": gaussian_kernel(KERNEL_SIZE, STD), "tilt": tilt_maps(1, (HEIGHT, HEIGHT), rng)}
    frame = (HEIGHT - KERNEL_SIZE, HEIGHT - KERNEL_SIZE)
    y = air.frame(air(scene, phi), frame)
    save(folder / "sharp.png", air.frame(scene, frame))
    save(folder / "turbulent.png", y + NOISE * torch.randn(y.shape, generator=rng))
    np.save(folder / "kernel.npy", phi["kernel"][0, 0].numpy())
    np.save(folder / "tilt.npy", air.frame(phi["tilt"], frame)[0].numpy())
    print(f"made {folder / 'turbulent.png'} ({frame[1]}x{frame[0]}, blur of {STD:g} pixels, noise {NOISE})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/turbulence"))
