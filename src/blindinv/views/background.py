"""Removing a plain background: paper, a wall, a sheet, evenly lit or with light that falls off."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

NO_PLAIN = "the background is not plain; give a PNG with an alpha channel, transparent around the object (RGBA)"
PLAIN = 0.04
"""Largest spread of a plain background about its plane of brightness, on [0, 1]."""
SHARE = 0.6
"""Least share of the border that must be background."""
TOLERANCE = (0.04, 0.12)
HOLE = 0.005
"""Least area of a hole through the object, as a share of its area; smaller spots of the background's colour are the object's."""
LEAST = 0.001
"""Least area of an object, as a share of the picture."""
DARKEST = 0.6
"""Share of the light that a shadow leaves."""
CLEAN = 0.5 / 255
"""Spread of a background that no camera took; there are no shadows on it."""
SOFT = 0.02
"""Largest change of that share over the width that pictures are smoothed by, a 300th of their size."""
EDGE = 2
"""Pixels on either side of the outline whose colour is a mixture."""


def remove_background(pixels: Tensor) -> Tensor:
    """The object before a plain background.

    The background's colour is a plane fitted to the border, robustly. What has this colour and is joined to the border is
    background, and so are soft shadows on it, which darken the colour without changing it or making an edge, and holes of some
    size; the largest piece of the rest is the object. Along its outline alpha is the
    share of the object's colour in the pixel, and the background's share is taken out of the colour.

    Args:
        pixels: (1, 3, H, W) in [0, 1].

    Returns:
        (1, 4, H, W), not premultiplied.

    Raises:
        ValueError: no plain background, or no object in front of it.
    """
    image = pixels[0].permute(1, 2, 0).double().numpy()
    plane, spread = _background(image)
    difference = np.sqrt(np.square(image - plane).mean(-1))
    tolerance = float(np.clip(4 * spread, *TOLERANCE))
    similar = difference < tolerance
    shadow = _shadow(image, plane, tolerance) if spread > CLEAN else np.zeros_like(similar)
    inside = _object(similar, shadow)
    if inside.mean() < LEAST:
        raise ValueError("there is no object in the picture: all of it has about the colour of its border")
    alpha, colour = _soft(image, plane, inside, tolerance)
    rgba = np.concatenate([colour, alpha[..., None]], -1).clip(0, 1)
    return torch.from_numpy(rgba).permute(2, 0, 1)[None].to(pixels)


def _background(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Colour of the background everywhere (H, W, 3), linear in x and y, and its spread."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    features = np.stack([np.ones((height, width)), x / width - 0.5, y / height - 0.5], -1)
    ring = np.ones((height, width), bool)
    ring[1:-1, 1:-1] = False
    at, colours = features[ring], image[ring]
    fit = np.stack([np.median(colours, 0), np.zeros(3), np.zeros(3)])
    for _ in range(10):
        off = np.sqrt(np.square(colours - at @ fit).mean(-1))
        kept = off <= max(3 * 1.4826 * np.median(off), 2 / 255)
        fit = np.linalg.lstsq(at[kept], colours[kept], rcond=None)[0]
    off = np.sqrt(np.square(colours - at @ fit).mean(-1))
    spread = 1.4826 * float(np.median(off))
    if spread > PLAIN or (off < np.clip(4 * spread, *TOLERANCE)).mean() < SHARE:
        raise ValueError(NO_PLAIN)
    return features @ fit, spread


def _shadow(image: np.ndarray, plane: np.ndarray, tolerance: float) -> np.ndarray:
    """Where the picture (H, W, 3), smoothed, is s times the background with s <= 1, and s changes slowly."""
    sigma = max(1.0, min(image.shape[:2]) / 300)
    smooth = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    share = (smooth * plane).sum(-1) / np.maximum(np.square(plane).sum(-1), 1e-6)
    off = np.sqrt(np.square(smooth - share[..., None] * plane).mean(-1))
    steep = sigma * np.hypot(*np.gradient(share))
    return (off < tolerance / 2) & (share >= DARKEST) & (share <= 1) & (steep < SOFT)


def _object(similar: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """The largest piece that is not background, from where the colour is that of the background, lit or in shadow."""
    ground, _ = ndimage.label(similar | shadow)
    border = np.unique(np.concatenate([ground[0], ground[-1], ground[:, 0], ground[:, -1]]))
    outside = np.isin(ground, border[border > 0])
    pieces, found = ndimage.label(~outside, np.ones((3, 3)))
    if not found:
        return np.zeros_like(similar)
    largest = pieces == 1 + int(np.argmax(ndimage.sum_labels(~outside, pieces, range(1, found + 1))))
    labels, count = ndimage.label(similar)
    areas = ndimage.sum_labels(similar, labels, range(1, count + 1))
    holes = [i + 1 for i, area in enumerate(areas) if area >= HOLE * largest.sum()]
    return largest & ~np.isin(labels, holes)


def _soft(image: np.ndarray, plane: np.ndarray, inside: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Alpha (H, W) and colour (H, W, 3) where pixels on the outline are mixtures C = a F + (1 - a) B.

    B is known, F is the colour of the nearest pixel well inside, and a = <C - B, F - B> / |F - B|^2.
    """
    core = ndimage.binary_erosion(inside, np.ones((3, 3)), EDGE, border_value=1)
    alpha, colour = inside.astype(float), image.copy()
    if not core.any():
        return alpha, colour
    distance, nearest = ndimage.distance_transform_edt(~core, return_indices=True)
    band = ~core & (distance <= 2 * EDGE)
    towards = image[tuple(nearest)] - plane
    length = np.square(towards).sum(-1)
    band &= length > 3 * (2 * tolerance) ** 2  # elsewhere the two colours are too much alike to be told apart
    share = ((image - plane) * towards).sum(-1) / np.maximum(length, 1e-12)
    alpha[band] = share.clip(0, 1)[band]
    colour[band] = image[tuple(nearest)][band]
    return alpha, colour
