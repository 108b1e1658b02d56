"""Pictures of a result: before and after side by side, the kernel enlarged, the spread of posterior samples."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blindinv.photo.write import quantise

MARGIN = 12
CAPTION = 16
LARGEST = 1600
WHITE = (255, 255, 255)
INK = (32, 32, 32)


def picture(x: Tensor) -> Image.Image:
    """An image (1, 3, H, W) or (1, 1, H, W) in [0, 1] as an 8-bit RGB picture."""
    return Image.fromarray(np.ascontiguousarray(quantise(x.expand(1, 3, -1, -1), 8)))


def kernel_picture(kernel: Tensor, side: int = 256) -> Image.Image:
    """A kernel (1, 1, n, n) scaled to its maximum, every pixel enlarged to a square, about `side` wide."""
    top = kernel.max().clamp(min=1e-12)
    small = Image.fromarray(quantise(kernel / top, 8)[..., 0])
    scale = max(1, round(side / kernel.shape[-1]))
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def comparison(before: Tensor, after: Tensor, kernel: Tensor) -> Image.Image:
    """Before, after and kernel in a row with captions; images wider or higher than 1600 pixels are reduced.

    Args:
        before: (1, 3, H, W) in [0, 1].
        after: (1, 3, H, W) in [0, 1].
        kernel: (1, 1, n, n).
    """
    panels = [fitted(picture(before)), fitted(picture(after))]
    side = min(256, max(kernel.shape[-1], panels[0].height))
    panels.append(kernel_picture(kernel, side).convert("RGB"))
    captions = ["before", "after", f"kernel {kernel.shape[-1]}x{kernel.shape[-1]}"]
    width = sum(p.width for p in panels) + MARGIN * (len(panels) + 1)
    sheet = Image.new("RGB", (width, max(p.height for p in panels) + CAPTION + 2 * MARGIN), WHITE)
    draw, left = ImageDraw.Draw(sheet), MARGIN
    for panel, caption in zip(panels, captions, strict=True):
        draw.text((left, MARGIN // 2), caption, fill=INK, font=ImageFont.load_default())
        sheet.paste(panel, (left, MARGIN + CAPTION))
        left += panel.width + MARGIN
    return sheet


def spread(samples: Tensor) -> tuple[Tensor, float]:
    """Standard deviation over samples (N, 3, H, W), averaged over colours.

    Returns:
        (1, 1, H, W) scaled to its maximum, and that maximum on [0, 1].
    """
    deviation = samples.std(0, unbiased=False, keepdim=True).mean(1, keepdim=True)
    top = float(deviation.max())
    return deviation / max(top, 1e-12), top


def fitted(image: Image.Image) -> Image.Image:
    """The picture, made smaller if a side is longer than `LARGEST` pixels."""
    scale = min(1.0, LARGEST / max(image.size))
    if scale == 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)
