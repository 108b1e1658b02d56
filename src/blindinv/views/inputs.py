"""From pictures of an object to what view priors were trained on: a square with the object in its middle, and its alpha."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import Tensor

from blindinv.views.background import remove_background

FILL = 0.66
"""Share of the picture's width that the circle round the object takes: the median of the renders that the shipped prior was
trained on, objects that touch a sphere of radius 0.65 from inside, seen from 1.7 to 2.0. The middle 98 % take 0.53 to 0.80."""
SMALLEST = 8
"""Least width of an object in pixels."""
OPAQUE = 0.5
"""Alpha from which a pixel belongs to the object."""
KEPT_SIZE, KEPT_OFFSET = (0.45, 0.97), 0.14
"""Pictures are kept as they are where the circle's diameter and the distance of its centre, in widths, are within these."""


LARGEST = 1024
"""Pictures with longer sides are made smaller before anything else: priors see a quarter of that or less."""


@dataclass(frozen=True, eq=False)
class Object:
    """An object cut out of its picture.

    Attributes:
        rgba: (1, 4, H, W) in [0, 1], not premultiplied.
        source: where alpha is from: "alpha" of the file, a plain "background" that was removed, or "white" for a picture
            that was taken as it is.
    """

    rgba: Tensor
    source: str


def cut_out(pixels: Tensor, alpha: Tensor | None = None) -> Object:
    """The object of a picture, by its alpha channel or in front of a plain background.

    Args:
        pixels: (1, 3, H, W) in [0, 1].
        alpha: (1, 1, H, W) in [0, 1]; one that is opaque everywhere is as good as none.

    Raises:
        ValueError: there is no object, or no way to tell where it is.
    """
    pixels, alpha = _shrunk(pixels, alpha)
    if alpha is not None and float(alpha.min()) < OPAQUE:
        if float(alpha.max()) < OPAQUE:
            raise ValueError("the picture is transparent everywhere; there is no object in it")
        found = Object(torch.cat([pixels, alpha], 1), "alpha")
    else:
        found = Object(remove_background(pixels), "background")
    width = 2 * circle(found.rgba)[2]
    if width < SMALLEST:
        raise ValueError(f"the object is {width:.0f} pixels wide; give a picture in which it is {SMALLEST} or more, better 200")
    return found


def _shrunk(pixels: Tensor, alpha: Tensor | None) -> tuple[Tensor, Tensor | None]:
    height, width = pixels.shape[-2:]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return pixels, alpha
    size = (max(2, round(height * scale)), max(2, round(width * scale)))
    if alpha is None:
        return F.interpolate(pixels, size, mode="bilinear", antialias=True), None
    light, small = (F.interpolate(x, size, mode="bilinear", antialias=True) for x in (pixels * alpha, alpha))
    return torch.where(small > 1e-3, light / small.clamp(min=1e-3), torch.ones_like(light)).clamp(0, 1), small


def as_it_is(pixels: Tensor, alpha: Tensor | None = None) -> Object:
    """A picture that needs nothing: square, the object in its middle, on white or with alpha.

    Raises:
        ValueError: it is not square, or empty.
    """
    height, width = pixels.shape[-2:]
    if height != width:
        raise ValueError(f"the picture is {width}x{height}; pictures that are taken as they are must be square")
    alpha = torch.ones_like(pixels[:, :1]) if alpha is None else alpha
    rgba = torch.cat([pixels, alpha], 1)
    if float(on_white(rgba).min()) > 1 - SMALLEST / 255:
        raise ValueError("the picture is white everywhere; there is no object in it")
    return Object(rgba, "white")


def circle(rgba: Tensor, rounds: int = 200) -> tuple[float, float, float]:
    """Centre (x, y) and radius, in pixels, of about the smallest circle round the object (1, 4, H, W).

    Badoiu and Clarkson, "Smaller core-sets for balls", 2003: from the mean, 1 / (i + 1) of the way to the farthest point.
    """
    inside = rgba[0, 3].numpy() >= OPAQUE
    outline = inside & ~ndimage.binary_erosion(inside)
    points = np.argwhere(outline)[:, ::-1] + 0.5
    centre = points.mean(0)
    for i in range(rounds):
        away = np.square(points - centre).sum(1)
        centre = centre + (points[away.argmax()] - centre) / (i + 2)
    return float(centre[0]), float(centre[1]), float(np.sqrt(np.square(points - centre).sum(1).max()))


def well_framed(rgba: Tensor) -> bool:
    """Whether a picture (1, 4, H, W) is square and shows the whole object, about in the middle and about as large as priors know.

    Renders are: to centre them again would take away what tells the poses apart.
    """
    height, width = rgba.shape[-2:]
    alpha = rgba[0, 3]
    edge = torch.cat([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    if height != width or float(edge.max()) >= OPAQUE:
        return False
    x, y, radius = circle(rgba)
    off = math.hypot(x - width / 2, y - width / 2) / width
    return off <= KEPT_OFFSET and KEPT_SIZE[0] <= 2 * radius / width <= KEPT_SIZE[1]


def framed(rgba: Tensor, size: int, fit: bool = True, fill: float = FILL) -> Tensor:
    """A square picture of the object.

    Args:
        rgba: (1, 4, H, W), not premultiplied.
        size: of the result, pixels.
        fit: whether the circle round the object is put in the middle and scaled; otherwise the whole picture, which must be
            square, is resized.
        fill: the circle's share of the width then.

    Returns:
        (1, 4, size, size), not premultiplied; where it is transparent it is white.
    """
    height, width = rgba.shape[-2:]
    x, y, side = width / 2, height / 2, float(width)
    if fit:
        x, y, radius = circle(rgba)
        side = 2 * radius / fill
    margin = math.ceil(max(side / 2 - min(x, y), side / 2 + max(x - width, y - height), 0))
    light = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)[0].numpy()
    box = (x - side / 2 + margin, y - side / 2 + margin, x + side / 2 + margin, y + side / 2 + margin)
    planes = [
        Image.fromarray(np.pad(plane, margin).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC, box)
        for plane in light
    ]
    out = torch.from_numpy(np.stack([np.asarray(p) for p in planes]))[None]
    alpha = out[:, 3:].clamp(0, 1)
    colour = torch.where(alpha > 1e-3, out[:, :3] / alpha.clamp(min=1e-3), torch.ones_like(out[:, :3])).clamp(0, 1)
    return torch.cat([colour, alpha], 1)


def on_white(rgba: Tensor) -> Tensor:
    """(B, 4, H, W), not premultiplied -> (B, 3, H, W) in front of white."""
    return rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:])
