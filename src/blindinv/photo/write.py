"""Writing photos as PNG, with what the original file carried."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blindinv.photo.png import encode_png16
from blindinv.photo.read import Photo
from blindinv.training.loop import write_atomically


def write_photo(path: Path | str, pixels: Tensor, like: Photo) -> None:
    """Write a PNG with the EXIF, ICC profile, alpha, bit depth and greyness of `like`; equal input gives equal bytes.

    Args:
        path: ends in .png.
        pixels: (1, 3, H, W) in [0, 1] (clipped), the size of `like`; a grey photo gets the mean of the channels.
        like: the photo it was made from.

    Raises:
        ValueError: another suffix, shape or values that are not finite.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: photos are written as .png")
    if pixels.shape != like.pixels.shape:
        raise ValueError(f"pixels are {tuple(pixels.shape)}, the photo they belong to {tuple(like.pixels.shape)}")
    if not torch.isfinite(pixels).all():
        raise ValueError("pixels have values that are not finite")
    samples = quantise(_planes(pixels, like), like.bits)
    write_atomically(path, lambda p: p.write_bytes(_encode(samples, like)))


def quantise(x: Tensor, bits: int) -> np.ndarray:
    """(1, C, H, W) in [0, 1] -> (H, W, C) of uint8 or uint16, rounded to nearest."""
    top = 2**bits - 1
    values = (x[0].detach().cpu().double().clamp(0, 1) * top).round().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(values.astype(np.uint8 if bits == 8 else np.uint16))


def _planes(pixels: Tensor, like: Photo) -> Tensor:
    colour = pixels.detach().cpu().float()
    colour = colour.mean(1, keepdim=True) if like.grey else colour
    return colour if like.alpha is None else torch.cat([colour, like.alpha.cpu()], 1)


def _encode(samples: np.ndarray, like: Photo) -> bytes:
    if samples.dtype == np.uint16:
        return encode_png16(samples, like.exif, like.icc)
    return png8(samples, like.exif, like.icc)


def png8(samples: np.ndarray, exif: bytes = b"", icc: bytes = b"") -> bytes:
    """An 8-bit PNG of (H, W, C) samples, C as for 16 bits."""
    buffer = BytesIO()
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    image.save(buffer, "PNG", exif=exif, icc_profile=icc or None)
    return buffer.getvalue()
