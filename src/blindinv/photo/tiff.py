"""TIFF files of 16 bits and of floating-point numbers, which Pillow cannot read whole."""

from pathlib import Path

import numpy as np
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from blindinv.photo.errors import PhotoError
from blindinv.photo.exif import ORIENTATION, kept_exif
from blindinv.photo.raster import Raster

ICC_PROFILE = 34675


def read_deep_tiff(path: Path, max_pixels: int) -> Raster | None:
    """First page of a TIFF of 16-bit or floating-point samples.

    Args:
        path: of the file.
        max_pixels: bound on width times height.

    Returns:
        samples as uint16 or float32; None if they have 8 bits or fewer, which Pillow reads.

    Raises:
        PhotoError: other sample types, colour spaces or layouts.
    """
    with TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, TiffPage)
        if page.bitspersample <= 8:
            return None
        if page.imagewidth * page.imagelength > max_pixels:
            raise PhotoError(f"{page.imagewidth}x{page.imagelength} is more than {max_pixels // 10**6} megapixels")
        samples = _colour(_decode(page), page)
        tags = {tag.code: tag.value for tag in page.tags if tag.code in (ORIENTATION, ICC_PROFILE)}
    return Raster(samples, int(tags.get(ORIENTATION, 1)), _exif(path), bytes(tags.get(ICC_PROFILE, b"")))


def _decode(page: TiffPage) -> np.ndarray:
    if page.dtype is None or page.dtype.kind not in "uf" or page.dtype.itemsize > (2 if page.dtype.kind == "u" else 8):
        raise PhotoError(f"TIFF samples of type {page.dtype} are not supported; use 8 or 16 bit or floating point")
    try:
        samples = page.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        advice = "save it uncompressed or with ZIP, or install imagecodecs"
        raise PhotoError(f"TIFF compression {COMPRESSION(page.compression).name} is not supported; {advice}") from error
    if page.axes == "SYX":
        samples = samples.transpose(1, 2, 0)
    elif page.axes == "YX":
        samples = samples[..., None]
    elif page.axes != "YXS":
        raise PhotoError(f"a TIFF with axes {page.axes} is not a picture; use height, width and colour")
    return samples if samples.dtype == np.uint16 else samples.astype(np.float32)


def _colour(samples: np.ndarray, page: TiffPage) -> np.ndarray:
    name = PHOTOMETRIC(page.photometric).name
    allowed = {"MINISBLACK": (1, 2), "MINISWHITE": (1, 2), "RGB": (3, 4)}
    if samples.shape[2] not in allowed.get(name, ()):
        raise PhotoError(f"a TIFF of {samples.shape[2]} channels of kind {name} is not supported; save it as grey or RGB")
    if name == "MINISWHITE":
        top = 65535 if samples.dtype == np.uint16 else 1
        samples = np.concatenate([top - samples[..., :1], samples[..., 1:]], -1)
    return samples


def _exif(path: Path) -> bytes:
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            return kept_exif(image)
    except Exception:  # Pillow does not open every kind; the pixels are what counts
        return b""
