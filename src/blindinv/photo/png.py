"""A PNG writer for 16-bit colour, which Pillow does not have (PNG specification, third edition, sections 5, 9 and 11)."""

import struct
import zlib

import numpy as np

COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def encode_png16(samples: np.ndarray, exif: bytes = b"", icc: bytes = b"") -> bytes:
    """A 16-bit PNG; equal input gives equal bytes.

    Args:
        samples: (H, W, C) uint16; C = 1 grey, 2 grey + alpha, 3 colour, 4 colour + alpha.
        exif: EXIF block, with or without its "Exif" prefix; b"" for none.
        icc: ICC profile; b"" for none.
    """
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPE[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if icc:
        chunks.append(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        chunks.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [_chunk(b"IDAT", zlib.compress(_filtered(samples))), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _filtered(samples: np.ndarray) -> bytes:
    """Scan lines with filter 1: every byte less the same byte of the pixel to its left, modulo 256."""
    height, width, channels = samples.shape
    raw = samples.astype(">u2").view(np.uint8).reshape(height, width, 2 * channels)
    lines = np.concatenate([raw[:, :1], raw[:, 1:] - raw[:, :-1]], 1).reshape(height, -1)
    return np.concatenate([np.ones((height, 1), np.uint8), lines], 1).tobytes()
