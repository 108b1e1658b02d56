"""Reading photos: JPEG, PNG, WebP, TIFF and BMP, 8 or 16 bit, grey or colour, with or without alpha."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from torch import Tensor

from blindinv.photo.errors import PhotoError, first_line
from blindinv.photo.exif import ORIENTATION, kept_exif
from blindinv.photo.raster import Raster, turned
from blindinv.photo.tiff import read_deep_tiff

__all__ = ["MAX_PIXELS", "Photo", "PhotoError", "read_photo"]

MAX_PIXELS = 100_000_000
MIN_SIDE = 2
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", *TIFF)
GREY = ("1", "L", "LA", "La")
MODES = {"1": "L", "P": "RGB", "La": "LA", "RGBa": "RGBA", "PA": "RGBA", "RGBX": "RGB"}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, upright, and what its file said besides pixels.

    Attributes:
        pixels: (1, 3, H, W) float32 in [0, 1], as stored (no change of transfer curve or colour space); grey is repeated.
        alpha: (1, 1, H, W) in [0, 1], or None.
        grey: whether the file had a single colour channel.
        bits: 8 or 16 (16 also for floating-point files).
        exif: EXIF block with its orientation reset, b"" if there is none.
        icc: ICC profile, b"" if there is none.
        suffix: of the file, in lower case, such as ".jpg".
    """

    pixels: Tensor
    alpha: Tensor | None
    grey: bool
    bits: int
    exif: bytes
    icc: bytes
    suffix: str


def read_photo(path: Path | str) -> Photo:
    """Read a photo. Of an animation or a multi-page file the first picture is read; CMYK becomes RGB without its profile.

    Raises:
        PhotoError: the file is missing, is no image, is damaged, or has a size or values that cannot be a photo;
            the message is one line that begins with the path.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # decoders warn of damaged metadata
            raster = _read(path)
        samples = _checked(raster.samples)
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from error.__cause__
    upright = turned(samples, raster.orientation)
    planes = torch.from_numpy(np.ascontiguousarray(upright.transpose(2, 0, 1)))[None]
    channels = planes.shape[1]
    colour = planes[:, :1].repeat(1, 3, 1, 1) if channels < 3 else planes[:, :3].contiguous()
    alpha = planes[:, -1:].contiguous() if channels in (2, 4) else None
    bits = 8 if raster.samples.dtype == np.uint8 else 16
    return Photo(colour, alpha, channels < 3, bits, raster.exif, raster.icc, path.suffix.lower())


def _read(path: Path) -> Raster:
    head = _head(path)
    try:
        if head.startswith(TIFF):
            deep = read_deep_tiff(path, MAX_PIXELS)
            if deep is not None:
                return deep
        with _open(path, FORMATS) as image:
            _check_size(image.width, image.height)
            return _deep_png(image) if _is_deep_png(head) else _shallow(image)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(f"more than {MAX_PIXELS // 10**6} megapixels; make it smaller first") from error
    except UnidentifiedImageError as error:
        if head.startswith(SIGNATURES):
            raise PhotoError("the image is damaged, cut off or empty; copy it again from its source") from error
        raise PhotoError("not a JPEG, PNG, WebP, TIFF or BMP image") from error
    except Exception as error:  # decoders of damaged files raise anything
        raise PhotoError(f"the image is damaged or cut off ({first_line(error)}); copy it again from its source") from error


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise PhotoError("not a file; give the path of a photo")
        with path.open("rb") as file:
            head = file.read(32)
    except FileNotFoundError as error:
        raise PhotoError("there is no such file") from error
    except OSError as error:
        raise PhotoError(f"cannot be read ({error.strerror})") from error
    if not head:
        raise PhotoError("the file is empty; give a JPEG, PNG, WebP, TIFF or BMP image")
    return head


def _open(path: Path, formats: tuple[str, ...]) -> ImageFile:
    image = Image.open(path, formats=formats)
    assert isinstance(image, ImageFile)
    return image


def _is_deep_png(head: bytes) -> bool:
    return head.startswith(b"\x89PNG") and head[24] == 16


def _deep_png(image: ImageFile) -> Raster:
    """16-bit PNG, exactly.

    Pillow has no 16-bit colour: its `;16B` unpackers keep the first byte of every sample, `;16L` the second, so a colour
    picture is unpacked twice. Grey with alpha has the four bytes a pixel of 8-bit RGBA and is unpacked as such.
    """
    unpacker = str(image.tile[0].args)
    samples: np.ndarray
    if unpacker == "LA;16B":
        planes = _unpacked(image, "RGBA").astype(np.uint16)
        samples = planes[..., 0::2] << 8 | planes[..., 1::2]
    elif unpacker in ("RGB;16B", "RGBA;16B"):
        high, low = (_unpacked(image, unpacker.replace("16B", order)) for order in ("16B", "16L"))
        samples = high.astype(np.uint16) << 8 | low
    else:
        samples = np.asarray(image).astype(np.uint16)[..., None]
    return Raster(samples, _orientation(image), kept_exif(image), _icc(image))


def _unpacked(image: ImageFile, unpacker: str) -> np.ndarray:
    with _open(Path(os.fsdecode(image.filename)), ("PNG",)) as again:
        again.tile = [tile._replace(args=unpacker) for tile in again.tile]
        return np.asarray(again)


def _shallow(image: Image.Image) -> Raster:
    image.load()  # applies the orientation of a TIFF, so that it is asked for afterwards
    orientation, exif, icc = _orientation(image), kept_exif(image), _icc(image)
    mode = MODES.get(image.mode, image.mode)
    if "transparency" in image.info:
        mode = "LA" if image.mode in GREY else "RGBA"
    if mode not in ("L", "LA", "RGB", "RGBA"):
        mode, icc = "RGB", b""
    samples = np.asarray(image.convert(mode))
    return Raster(samples.reshape(image.height, image.width, -1), orientation, exif, icc)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not spoil the picture
        return 1


def _icc(image: Image.Image) -> bytes:
    return image.info.get("icc_profile") or b""


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"the image is {width}x{height}; a photo has at least {MIN_SIDE} pixels on each side")
    if width * height > MAX_PIXELS:
        raise PhotoError(f"{width}x{height} is more than {MAX_PIXELS // 10**6} megapixels; make it smaller first")


def _checked(samples: np.ndarray) -> np.ndarray:
    """Samples as float32 in [0, 1]."""
    _check_size(samples.shape[1], samples.shape[0])
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    if not np.isfinite(samples).all():
        raise PhotoError("has values that are NaN or infinite; every value must be a number in [0, 1]")
    low, high = float(samples.min()), float(samples.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise PhotoError(f"floating-point values go from {low:.4g} to {high:.4g}; scale them to [0, 1]")
    return samples.astype(np.float32).clip(0, 1)
