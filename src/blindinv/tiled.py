"""A problem as a whole, or, where it is large, in tiles that share one kernel: memory is bounded, time linear in the pixels."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from blindinv.operators.noise import is_map
from blindinv.photo.tiles import Box, blend, tiles
from blindinv.problem import Deblurring

TILE = 512
LARGEST = 640 * 640

Find = Callable[[Deblurring], tuple[Tensor, Tensor]]


def whole_or_tiles(problem: Deblurring, find: Find) -> tuple[Tensor, Tensor]:
    """What `find` makes of a problem; above 640 x 640 pixels, of tiles of 512, put together.

    The kernel is that of the tile with the most detail, unless it is known; then every tile is done with that kernel, on
    free borders. All draw from the problem's generators, one after the other.

    Args:
        problem: of any size.
        find: problem -> maps (B, C, H, W) on the frame, such as the image, and kernel (B, 1, n, n).

    Returns:
        the maps of the whole frame and the kernel.
    """
    height, width = problem.y.shape[-2:]
    if height * width <= LARGEST:
        return find(problem)
    overlap = problem.kernel_size + 32
    boxes = tiles(height, width, max(TILE, 2 * overlap), overlap)

    def found(box: Box, kernel: Tensor | None) -> tuple[Tensor, Tensor]:
        sigma = box.cut(problem.sigma) if is_map(problem.sigma) else problem.sigma
        piece = Deblurring.of(box.cut(problem.y), sigma, problem.kernel_size, False, kernel)
        return find(replace(piece, rng=problem.rng))

    kernel = problem.kernel
    if kernel is None:
        kernel = found(max(boxes, key=lambda box: _detail(problem.y, box)), None)[1]
    return blend(boxes, (found(box, kernel)[0] for box in boxes), overlap), kernel


def _detail(y: Tensor, box: Box) -> float:
    part = box.cut(y).mean(1)
    return float(part.diff(dim=-1).abs().mean() + part.diff(dim=-2).abs().mean())
