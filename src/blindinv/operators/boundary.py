"""What lies outside the frame: the conditional fill, and telling whether a picture is periodic."""

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.operators.fourier import fft, gradient_otf, ifft, size_of


def embed(y: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Put a frame (B, C, H, W) in the middle of a zero canvas.

    Returns:
        the canvas (B, C, *canvas) and its mask (1, 1, *canvas), one inside the frame.
    """
    top, left = offset(size_of(y), canvas)
    h, w = y.shape[-2:]
    pad = (left, canvas[1] - w - left, top, canvas[0] - h - top)
    return F.pad(y, pad), F.pad(torch.ones(1, 1, h, w, device=y.device, dtype=y.dtype), pad)


def offset(frame: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the frame's first pixel on the canvas."""
    return (canvas[0] - frame[0]) // 2, (canvas[1] - frame[1]) // 2


def crop(x: Tensor, frame: tuple[int, int]) -> Tensor:
    """The frame of a canvas (..., H', W') -> (..., *frame)."""
    top, left = offset(frame, size_of(x))
    return x[..., top : top + frame[0], left : left + frame[1]]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-3, -2, -1), keepdim=True)


def conditional_fill(r: Tensor, mask: Tensor, covariance: Tensor, iterations: int = 40, tolerance: float = 0.0) -> Tensor:
    """Continue r outside the mask as the conditional mean of a stationary Gaussian field given its inside.

    With O = 1 - M and the field's power spectrum C: O C^-1 O u = - O C^-1 M r by conjugate gradients,
    preconditioned by O C O, in float64. After this fill, every Fourier formula that divides by C gives the
    answer it would give if the outside had been integrated out.

    Args:
        r: (B, C, H, W) on the canvas; values outside the mask are ignored.
        mask: (1, 1, H, W) of zeros and ones.
        covariance: power spectrum on the half plane, broadcastable to (B, 1, H, W // 2 + 1), positive.
        iterations: of conjugate gradients, at most.
        tolerance: a sample is finished when its residual, in the norm of the preconditioner, has fallen to this share of
            the first; large kernels need most iterations.
    """
    size = size_of(r)
    inside, outside = mask.double(), 1 - mask.double()
    c = covariance.double()
    known = r.double() * inside

    def precision(v: Tensor) -> Tensor:
        return outside * ifft(fft(v) / c, size)

    residual = -precision(known)
    u = torch.zeros_like(residual)
    z = outside * ifft(fft(residual) * c, size)
    p, rz = z, _dot(residual, z)
    enough = tolerance**2 * rz
    for _ in range(iterations):
        going = rz > enough
        if not going.any():
            break
        q = precision(p)
        step = torch.where(going, rz / _dot(p, q).clamp(min=1e-300), 0.0)
        u, residual = u + step * p, residual - step * q
        z = outside * ifft(fft(residual) * c, size)
        new = _dot(residual, z)
        p, rz = z + new / rz.clamp(min=1e-300) * p, new
    return (known + u).to(r.dtype)


def harmonic_fill(y: Tensor, mask: Tensor, iterations: int = 100) -> Tensor:
    """Continue y outside the mask as smoothly as the torus allows: the least sum of squared gradients."""
    size = size_of(y)
    dx, dy = gradient_otf(size, y.device)
    roughness = dx.abs().square() + dy.abs().square()
    mean = (y * mask).sum((-2, -1), keepdim=True) / mask.sum()
    return mean + conditional_fill(y - mean, mask, 1 / (roughness + 1e-4), iterations)


def is_circular(y: Tensor, threshold: float = 1.5) -> bool:
    """Whether the picture goes on from its right edge to its left and from its bottom to its top.

    The mean jump across the seam is compared with the mean step between neighbouring rows (columns) near it.

    Args:
        y: (B, C, H, W).
        threshold: of the ratio; both axes must lie below it.
    """

    def ratio(axis: int) -> float:
        y0 = y.float().movedim(axis, 0)
        seam = (y0[0] - y0[-1]).abs().mean()
        near = 0.5 * ((y0[1] - y0[0]).abs().mean() + (y0[-1] - y0[-2]).abs().mean())
        usual = (y0[1:] - y0[:-1]).abs().mean()
        return float(seam / torch.maximum(near, usual).clamp(min=1e-6))

    return max(ratio(-2), ratio(-1)) < threshold
