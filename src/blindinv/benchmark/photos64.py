"""Protocol photos-64: synthetic camera shake on natural photos, periodic borders, known noise.

Photo i of a folder, at 256 x 256, is blurred with motion kernel i of 64 (64 x 64 pixels, intensity 0.5, one seed) and gets
Gaussian noise of standard deviation 0.02 on [0, 1] from a generator of its own. PSNR and SSIM are taken on [0, 1] RGB
after the best whole-pixel shift within +-8 pixels; kernels are compared by the maximum of the normalised cross-correlation (MNC).
"""

from functools import partial
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from blindinv.benchmark.cases import Batch, Case, Figures, Task, per_sample, to_tensor
from blindinv.benchmark.lpips import Distance, load_lpips
from blindinv.benchmark.records import sha256
from blindinv.kernels.motion import motion_kernels
from blindinv.metrics import best_shift, kernel_mse, mnc, psnr, ssim
from blindinv.operators.convolution import CircularConvolution
from blindinv.protocols import generators, randn

COUNT = 64
SIZE = 256
KERNEL = 64
INTENSITY = 0.5
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})


def square(image: Image.Image, size: int = SIZE) -> Image.Image:
    """The middle square of a picture at size x size."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.convert("RGB").crop((left, top, left + side, top + side))
    return middle if side == size else middle.resize((size, size), Image.Resampling.LANCZOS)


def photos64_task(
    folder: Path, *, limit: int | None = None, seed: int = 0, sigma: float = 0.02, lpips: Path | None = None
) -> Task:
    """The protocol on the photos of a folder, sorted by name; at most 64.

    Args:
        folder: of pictures; those that are not 256 x 256 are cut to the middle square and resized.
        limit: only the first so many. Kernel and noise of a photo do not depend on it.
        seed: of kernels and noise.
        sigma: noise level on [0, 1].
        lpips: weights for LPIPS, see `load_lpips`; None: that figure is left out.

    Raises:
        ValueError: no pictures there, a file that is no picture or no weights, or a negative number.
    """
    if sigma < 0 or (limit is not None and limit < 1):
        raise ValueError("sigma must not be negative, and limit must be 1 or more")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        raise ValueError(f"{folder} is not a folder with pictures in it")
    kernels = motion_kernels(COUNT, KERNEL, INTENSITY, torch.Generator().manual_seed(seed))
    noise = generators(seed + 1, COUNT)
    cases = [_case(file, kernels[i : i + 1], noise[i], sigma) for i, file in enumerate(files[: min(COUNT, limit or COUNT)])]
    config = {
        "kernel_size": KERNEL,
        "intensity": INTENSITY,
        "sigma": sigma,
        "size": SIZE,
        "boundary": "circular",
        "data_seed": seed,
    }
    if lpips is None:
        return Task("photos-64", cases, KERNEL, True, score, config)
    return Task("photos-64", cases, KERNEL, True, partial(score, lpips=load_lpips(lpips)), config | {"lpips": sha256(lpips)})


def _case(file: Path, kernel: Tensor, rng: torch.Generator, sigma: float) -> Case:
    try:
        with Image.open(file) as image:
            truth = to_tensor(square(image))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{file} cannot be read as a picture") from error
    y = CircularConvolution()(truth, kernel)
    return Case(file.name, file, y + sigma * randn(tuple(y.shape), [rng]), truth, kernel, sigma)


def score(batch: Batch, images: Tensor, kernels: Tensor, lpips: Distance | None = None) -> list[Figures]:
    """PSNR as it is; PSNR, SSIM and LPIPS after the best shift; MNC and squared error of the kernel."""
    aligned, _ = best_shift(images, batch.truth)
    perceptual = {} if lpips is None else {"lpips": lpips(aligned, batch.truth)}
    return per_sample(
        psnr=psnr(images, batch.truth),
        psnr_shift=psnr(aligned, batch.truth),
        ssim=ssim(aligned, batch.truth),
        mnc=mnc(kernels, batch.kernel),
        kernel_mse=kernel_mse(kernels, batch.kernel),
        **perceptual,
    )
