"""A tilt field as a picture: direction as hue, length as strength of the colour, with a wheel to read it by."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blindinv.photo.pictures import CAPTION, INK, MARGIN, WHITE, fitted

WHEEL = 96


def tilt_colours(tilt: Tensor, top: float) -> Tensor:
    """Colours (1, 3, H, W) in [0, 1] of a field (1, 2, H, W): white for no tilt, a pure hue for `top` pixels and more.

    Hues go round from red (to the right) over yellow-green (down) and cyan (to the left) to violet (up).
    """
    u, v = tilt[:, :1], tilt[:, 1:]
    length = ((u.square() + v.square()).sqrt() / max(top, 1e-12)).clamp(max=1)
    angle = torch.atan2(v, u)
    waves = [0.5 + 0.5 * torch.cos(angle - turn) for turn in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)]
    hue = torch.cat(waves, 1)
    return 1 - length * (1 - hue)


def tilt_picture(tilt: Tensor) -> Image.Image:
    """The field (1, 2, H, W) beside its colour wheel, whose rim is the length that one pixel in a hundred exceeds.

    Fields wider or higher than 1600 pixels are reduced.
    """
    length = tilt.square().sum(1).sqrt().flatten()
    top = float(np.quantile(length.numpy(), 0.99)) if length.any() else 0.0
    field, wheel = fitted(_image(tilt_colours(tilt, top))), _wheel()
    width = field.width + wheel.width + 3 * MARGIN
    sheet = Image.new("RGB", (width, max(field.height, wheel.height + 2 * CAPTION) + 2 * MARGIN), WHITE)
    sheet.paste(field, (MARGIN, MARGIN))
    left = field.width + 2 * MARGIN
    sheet.paste(wheel, (left, MARGIN))
    text = f"rim {top:.3f} px" if top else "no tilt"
    ImageDraw.Draw(sheet).text((left, MARGIN + wheel.height + 4), text, fill=INK, font=ImageFont.load_default())
    return sheet


def _wheel() -> Image.Image:
    """Every direction at its place: the colour at the right of the middle is that of a tilt to the right."""
    at = torch.linspace(-1, 1, WHEEL)
    field = torch.stack([at.expand(WHEEL, -1), at[:, None].expand(-1, WHEEL)])[None]
    inside = field.square().sum(1, keepdim=True) <= 1
    return _image(torch.where(inside, tilt_colours(field, 1.0), torch.ones(1, 3, 1, 1)))


def _image(x: Tensor) -> Image.Image:
    return Image.fromarray((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
