import pickle
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from blindinv.photo import read as read_module
from blindinv.photo.read import PhotoError, read_photo
from blindinv.photo.write import write_photo

EXPOSURE, ORIENTATION, MODEL = 0x829A, 0x0112, 0x0110


def samples(channels, dtype=np.uint8, shape=(20, 30), seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (*shape, channels), endpoint=True).astype(dtype)


def expect(array):
    planes = torch.from_numpy((array / np.iinfo(array.dtype).max).astype(np.float32)).permute(2, 0, 1)[None]
    return planes


def exif_with(orientation=6):
    exif = Image.Exif()
    exif[MODEL] = "A camera"
    exif[ORIENTATION] = orientation
    exif.get_ifd(0x8769)[EXPOSURE] = 0.25
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp"])
def test_lossless_formats_give_their_samples(tmp_path, suffix):
    array = samples(3)
    path = tmp_path / f"Photo{suffix.upper()}"
    Image.fromarray(array).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    photo = read_photo(path)
    assert torch.equal(photo.pixels, expect(array)) and photo.pixels.dtype == torch.float32
    assert (photo.alpha, photo.grey, photo.bits, photo.suffix) == (None, False, 8, suffix)


def test_jpeg_is_near_its_source(tmp_path):
    array = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.jpg", quality=95)
    assert (read_photo(tmp_path / "a.jpg").pixels - expect(array)).abs().max() < 0.02


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_alpha_and_depth_come_back_from_a_written_png(tmp_path, channels, dtype):
    array = samples(channels, dtype)
    kind = {"photometric": "rgb" if channels > 2 else "minisblack", "planarconfig": "contig" if channels > 1 else None}
    extra = ["unassalpha"] if channels in (2, 4) else None
    tifffile.imwrite(tmp_path / "a.tif", array if channels > 1 else array[..., 0], extrasamples=extra, **kind)
    photo = read_photo(tmp_path / "a.tif")
    assert photo.grey == (channels < 3) and photo.bits == array.itemsize * 8
    assert (photo.alpha is not None) == (channels in (2, 4))
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    again = read_photo(tmp_path / "b.png")
    assert (again.grey, again.bits) == (photo.grey, photo.bits)
    planes = expect(array)
    assert torch.equal(again.pixels, planes[:, :1].expand(1, 3, -1, -1) if channels < 3 else planes[:, :3])
    assert channels in (1, 3) or torch.equal(again.alpha, planes[:, -1:])


def test_sixteen_bit_png_opens_in_pillow_too(tmp_path):
    array = samples(3, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    photo = read_photo(tmp_path / "a.tif")
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image), (array >> 8).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_float_tiff(tmp_path, dtype):
    array = np.random.default_rng(0).random((12, 14, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tiff", array, photometric="rgb", compression="zlib")
    photo = read_photo(tmp_path / "a.tiff")
    assert photo.bits == 16
    assert torch.equal(photo.pixels[0].permute(1, 2, 0), torch.from_numpy(array.astype(np.float32)))


def test_planar_and_inverted_tiff(tmp_path):
    array = samples(3, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert torch.equal(read_photo(tmp_path / "a.tif").pixels, expect(array))
    tifffile.imwrite(tmp_path / "b.tif", array[..., 0], photometric="miniswhite")
    assert torch.equal(read_photo(tmp_path / "b.tif").pixels[:, :1], expect(65535 - array[..., :1]))


def test_palette_with_transparency_and_cmyk(tmp_path):
    colours = Image.fromarray(np.kron(samples(3, shape=(2, 2)), np.ones((8, 8, 1), np.uint8)))
    palette = colours.convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "a.png", transparency=palette.getpixel((0, 0)))
    photo = read_photo(tmp_path / "a.png")
    assert torch.equal(photo.pixels, expect(np.asarray(palette.convert("RGB"))))
    assert photo.alpha[0, 0, 0, 0] == 0 and photo.alpha[0, 0, -1, -1] == 1
    colours.convert("CMYK").save(tmp_path / "b.jpg", icc_profile=srgb_profile())
    assert read_photo(tmp_path / "b.jpg").icc == b""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_and_reset(tmp_path, orientation):
    image = Image.fromarray(samples(3))
    image.save(tmp_path / "a.png", exif=exif_with(orientation))
    photo = read_photo(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert torch.equal(photo.pixels, expect(np.asarray(ImageOps.exif_transpose(stored))))
    kept = Image.Exif()
    kept.load(photo.exif)
    assert kept[ORIENTATION] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("source", ["png", "tif"])
def test_exif_and_icc_are_carried_over(tmp_path, dtype, source):
    array, profile = samples(3, dtype), srgb_profile()
    if source == "tif" and dtype == np.uint16:
        extra = [(MODEL, "s", 0, "A camera", True), (ORIENTATION, "H", 1, 6, True)]
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", iccprofile=profile, extratags=extra)
    else:
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / f"a.{source}", exif=exif_with().tobytes(), icc_profile=profile)
    photo = read_photo(tmp_path / f"a.{source}")
    assert photo.pixels.shape == (1, 3, 30, 20) and photo.icc == profile
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    with Image.open(tmp_path / "b.png") as written:
        exif = written.getexif()
        assert exif[MODEL].strip("\0") == "A camera" and exif.get(ORIENTATION, 1) == 1
        assert written.info["icc_profile"] == profile
        if not (source == "tif" and dtype == np.uint16):
            assert exif.get_ifd(0x8769)[EXPOSURE] == 0.25 and exif.get_ifd(0x8825)[1] == "N"
    assert torch.equal(read_photo(tmp_path / "b.png").pixels, photo.pixels)


def test_sixteen_bit_png_keeps_its_blocks_when_written_twice(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", samples(4, np.uint16), photometric="rgb", iccprofile=srgb_profile())
    photo = read_photo(tmp_path / "a.tif")
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    again = read_photo(tmp_path / "b.png")
    write_photo(tmp_path / "c.png", again.pixels, again)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a.tif", "b.png", "c.png"}


def test_damaged_exif_does_not_spoil_the_picture(tmp_path):
    Image.fromarray(samples(3)).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert read_photo(tmp_path / "a.png").pixels.shape == (1, 3, 20, 30)


def test_write_refuses_what_is_not_the_photo(tmp_path):
    Image.fromarray(samples(3)).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    for path, pixels in (
        ("b.jpg", photo.pixels),
        ("b.png", photo.pixels[..., 1:]),
        ("b.png", photo.pixels * float("nan")),
    ):
        with pytest.raises(ValueError):
            write_photo(tmp_path / path, pixels, photo)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize("interlace", [0, 1])
def test_sixteen_bit_png_of_other_writers(tmp_path, channels, colour_type, interlace):
    array = samples(channels, np.uint16)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [array[top::down, left::right] for top, left, down, right in (passes if interlace else [(0, 0, 1, 1)])]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, interlace)
    data = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))
    photo, planes = read_photo(tmp_path / "a.png"), expect(array)
    assert torch.equal(photo.pixels, planes[:, :1].expand(1, 3, -1, -1) if channels < 3 else planes[:, :3])
    assert channels in (1, 3) or torch.equal(photo.alpha, planes[:, -1:])


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bmp(width, height):
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def png_header(width, height, bits=8):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(kind, array, **options):
    buffer = BytesIO()
    if kind == "tifffile":
        tifffile.imwrite(buffer, array, photometric="rgb", **options)
    else:
        Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


BAD = {
    "empty": (b"", "empty"),
    "text": (b"just text, no picture at all", "not a JPEG"),
    "pickle": (pickle.dumps({"a": 1}), "not a JPEG"),
    "gif": (encoded("GIF", samples(3)), "not a JPEG"),
    "zero-png": (png_header(0, 0), ""),
    "zero-bmp": (bmp(0, 0), ""),
    "one-pixel": (encoded("PNG", samples(3, shape=(1, 1))), "1x1"),
    "one-row": (encoded("PNG", samples(3, shape=(1, 30))), "30x1"),
    "one-pixel-tiff": (encoded("tifffile", samples(3, np.uint16, (1, 1))), "1x1"),
    "bomb": (png_header(30_000, 30_000), "megapixels"),
    "bomb-16": (png_header(60_000, 60_000, 16), "megapixels"),
    "bomb-11k": (png_header(11_000, 11_000), "megapixels"),
    "bomb-bmp": (bmp(30_000, 30_000), "megapixels"),
    "int32-tiff": (encoded("tifffile", samples(3, np.uint16).astype(np.int32)), "int32"),
    "nan-tiff": (encoded("tifffile", np.full((9, 9, 3), np.nan, np.float32)), "NaN"),
    "inf-tiff": (encoded("tifffile", np.full((9, 9, 3), np.inf, np.float32)), "NaN or infinite"),
    "range-tiff": (encoded("tifffile", np.full((9, 9, 3), 200, np.float32)), "200"),
    "five-channels": (encoded("tifffile", samples(5, np.uint16)), "5 channels"),
    "bare-tiff": (b"II*\0\x08\0\0\0", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_clear_line(tmp_path, name):
    data, words = BAD[name]
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and words in message


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PNG16", "WEBP", "BMP", "TIFF", "TIFF16", "TIFFzip"])
def test_files_cut_off(tmp_path, kind, share):
    array = samples(3, shape=(64, 64))
    if kind == "PNG16":
        tifffile.imwrite(tmp_path / "a.tif", array.astype(np.uint16) * 257, photometric="rgb")
        photo = read_photo(tmp_path / "a.tif")
        write_photo(tmp_path / "a.png", photo.pixels, photo)
        data = (tmp_path / "a.png").read_bytes()
    elif kind.startswith("TIFF"):
        options = {"compression": "zlib"} if kind == "TIFFzip" else {}
        data = encoded("tifffile", array.astype(np.uint16) * 257 if kind != "TIFF" else array, **options)
    else:
        data = encoded(kind, array)
    path = tmp_path / "photo"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PhotoError, match="no such file"):
        read_photo(tmp_path / "nothing.png")
    with pytest.raises(PhotoError, match="not a file"):
        read_photo(tmp_path)


def test_size_bound_holds_for_deep_tiff(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", samples(3, np.uint16), photometric="rgb")
    monkeypatch.setattr(read_module, "MAX_PIXELS", 500)
    with pytest.raises(PhotoError, match="megapixels"):
        read_photo(tmp_path / "a.tif")


def test_undecodable_compression_says_what_to_do(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", samples(3, np.uint16), photometric="rgb")

    def refuse(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    with pytest.raises(PhotoError, match="uncompressed or with ZIP"):
        read_photo(tmp_path / "a.tif")
