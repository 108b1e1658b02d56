"""Pictures of a reconstruction: a labelled sheet and a turntable."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blindinv.photo.pictures import CAPTION, INK, MARGIN, WHITE, picture
from blindinv.photo.write import quantise
from blindinv.views.camera import Camera

TILE = 160
COLUMNS = 8
TURNTABLE = 256
SECONDS = 3.2
"""Of one turn."""


def rgba_picture(rgba: Tensor) -> Image.Image:
    """(1, 4, H, W) in [0, 1], not premultiplied, as an 8-bit picture."""
    return Image.fromarray(np.ascontiguousarray(quantise(rgba, 8)))


def enlarged(image: Image.Image, least: int) -> Image.Image:
    """At least so wide, by a whole factor."""
    scale = max(1, math.ceil(least / image.width))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)


def sheet(inputs: Tensor, titles: list[str], views: Tensor, camera: Camera, turned: Tensor | None = None) -> Image.Image:
    """The pictures that were given in the first row, the novel views below, each with a caption; last the mesh from all around.

    Args:
        inputs: (n, 3, S, S) in [0, 1].
        titles: n captions.
        views: (V, 3, S, S) in [0, 1].
        camera: of the views.
        turned: (F, 3, S', S'), the mesh on a turntable; none is shown if None.
    """
    rows = [list(zip(inputs, titles, strict=True))]
    named = list(zip(views, [_caption(camera[i : i + 1]) for i in range(len(camera))], strict=True))
    rows += [named[i : i + COLUMNS] for i in range(0, len(named), COLUMNS)]
    tiles = [[(enlarged(picture(x[None].cpu()), TILE), title) for x, title in row] for row in rows]
    side = tiles[0][0][0].width
    if turned is not None:
        places = [i * len(turned) // COLUMNS for i in range(COLUMNS)]
        small = [picture(turned[i : i + 1]).resize((side, side), Image.Resampling.BICUBIC) for i in places]
        tiles.append([(image, f"mesh, turned by {360 * i // len(turned)}") for i, image in zip(places, small, strict=True)])
    wide, high = side + MARGIN, side + CAPTION + MARGIN
    page = Image.new("RGB", (wide * max(map(len, tiles)) + MARGIN, high * len(tiles) + MARGIN), WHITE)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default()
    for r, row in enumerate(tiles):
        for c, (tile, title) in enumerate(row):
            left, top = MARGIN + c * wide, MARGIN + r * high
            draw.text((left, top), _cut(draw, title, side), fill=INK, font=font)
            page.paste(tile, (left, top + CAPTION))
    return page


def degrees(camera: Camera) -> dict[str, float]:
    """The first camera's pose as people say it."""
    polar, azimuth, radius = camera.pose[0].double().tolist()
    around = 180 - (180 - round(math.degrees(azimuth), 3)) % 360
    return {
        "polar": round(math.degrees(polar), 3),
        "elevation": round(90 - math.degrees(polar), 3),
        "azimuth": round(around, 3),
        "radius": round(radius, 4),
    }


def _caption(camera: Camera) -> str:
    at = degrees(camera)
    return f"azimuth {at['azimuth']:.0f}, elevation {at['elevation']:.0f}"


def _cut(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def write_turntable(path: Path, frames: Tensor, seconds: float = SECONDS) -> None:
    """An endless GIF; equal frames give equal bytes.

    Args:
        path: ends in .gif.
        frames: (F, 3, S, S) in [0, 1].
        seconds: of one turn.
    """
    images = [enlarged(picture(x[None].cpu()), TURNTABLE).quantize(256, dither=Image.Dither.NONE) for x in frames]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=max(20, round(1000 * seconds / len(images))), loop=0, disposal=2
    )
