"""EXIF: the tags that stay true of a restored picture."""

from PIL import Image

ORIENTATION = 0x0112
# Title, camera, software, date, resolution, artist, copyright: the tags of a TIFF that do not describe its storage.
DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298)
SUB_BLOCKS = (0x8769, 0x8825)


def kept_exif(image: Image.Image) -> bytes:
    """The EXIF block with its orientation reset; of a TIFF, only the tags that do not describe the file's layout."""
    try:
        exif = image.getexif()
        if image.format == "TIFF":
            exif = _descriptive(exif)
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        return exif.tobytes() if len(exif) else b""
    except Exception:  # a damaged EXIF block does not spoil the picture
        return b""


def _descriptive(exif: Image.Exif) -> Image.Exif:
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif[tag]
    for block in SUB_BLOCKS:
        tags = exif.get_ifd(block)
        if tags:
            kept[block] = dict(tags)
    return kept
