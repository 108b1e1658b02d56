"""Cameras that see all of an object: rings around it at several heights."""

from collections.abc import Sequence

from blindinv.views.camera import RADIUS, Camera

HEIGHTS = (-15.0, 20.0, 50.0)
"""Elevations in degrees, within what view priors are trained on; what is below an object is seen from the lowest."""


def rings(count: int, heights: Sequence[float] = HEIGHTS, radius: float = RADIUS, start: float = 0.0) -> Camera:
    """`count` cameras, evenly spaced in azimuth from `start` on, which take the elevations in turn (degrees).

    Raises:
        ValueError: no cameras, or no heights.
    """
    if count < 1 or not heights:
        raise ValueError("rings need one camera and one height at least")
    up = [heights[i % len(heights)] for i in range(count)]
    return Camera.degrees(up, [start + 360 * i / count for i in range(count)], radius)
