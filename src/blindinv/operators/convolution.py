"""Blur: y = k * x + n, on a torus or with a scene that goes on outside the frame."""

import torch
from torch import Tensor

from blindinv.operators.boundary import conditional_fill, crop, embed
from blindinv.operators.fourier import fft, good_size, ifft, otf, size_of
from blindinv.operators.noise import split


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-3, -2, -1), keepdim=True)


def unequal_noise(
    r: Tensor, mask: Tensor, covariance: Tensor, excess: Tensor, iterations: int = 60, tolerance: float = 0.01
) -> Tensor:
    """The residual that makes formulas with one noise level per image right for a map of levels.

    With sigma^2 = base + excess at each pixel, C = S + base and M the frame on its canvas

    M (C + excess) M u = M r,    r' = C u,

    by conjugate gradients, preconditioned by M C^-1 M, in float64. Then C^-1 r' = u = M (M S M + sigma^2)^-1 M r is what the
    exact Gaussian formulas have where those in Fourier space divide a residual by C.

    Args:
        r: (B, C, H, W) on the canvas; values outside the mask are ignored.
        mask: (1, 1, H, W) of zeros and ones.
        covariance: C, broadcastable to (B, 1, H, W // 2 + 1).
        excess: (B, C, h, w), as large as the frame, see `operators.noise.split`.
        iterations: of conjugate gradients, at most.
        tolerance: as in `conditional_fill`.
    """
    size, inside, c = size_of(r), mask.double(), covariance.double()
    more = embed(excess.double(), size)[0]

    def apply(v: Tensor) -> Tensor:
        return inside * ifft(c * fft(v), size) + more * v

    residual = r.double() * inside
    u = torch.zeros_like(residual)
    z = inside * ifft(fft(residual) / c, size)
    p, rz = z, _dot(residual, z)
    enough = tolerance**2 * rz
    for _ in range(iterations):
        open_ = rz > enough
        if not open_.any():
            break
        q = apply(p)
        step = torch.where(open_, rz / _dot(p, q).clamp(min=1e-300), 0.0)
        u, residual = u + step * p, residual - step * q
        z = inside * ifft(fft(residual) / c, size)
        new = _dot(residual, z)
        p, rz = z + new / rz.clamp(min=1e-300) * p, new
    return ifft(c * fft(u), size).to(r.dtype)


class CircularConvolution:
    """y = k * x with periodic borders, the model of both papers. Pure: the kernel is an argument, never state."""

    def canvas(self, frame: tuple[int, int], kernel_size: int) -> tuple[int, int]:
        """Size of the image that makes an observation of size `frame`: the same."""
        return frame

    def __call__(self, x: Tensor, k: Tensor) -> Tensor:
        """(B, C, H, W), (B, 1, n, n) -> (B, C, H, W); convolution (not correlation), origin of k at index n // 2."""
        size = size_of(x)
        return ifft(otf(k, size) * fft(x), size)

    def adjoint(self, y: Tensor, k: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """A^T y, the correlation with k."""
        torus = size_of(y)
        return ifft(otf(k, torus).conj() * fft(y), torus)

    def frame(self, x: Tensor, frame: tuple[int, int]) -> Tensor:
        """The part of an image that the observation shows."""
        return x

    def residual(self, y: Tensor, x: Tensor, k: Tensor, covariance: Tensor, excess: Tensor | None = None) -> Tensor:
        """y - k * x on the torus; `covariance` is needed only where noise has an `excess` (see `unequal_noise`)."""
        r = y - self(x, k)
        return r if excess is None else unequal_noise(r, torch.ones_like(r[:1, :1]), covariance, excess)


class FreeConvolution:
    """y = crop(k * x): the scene goes on outside the frame, x lives on a larger canvas.

    Args:
        iterations: conjugate-gradient steps of the conditional fill, at most.
        multiple: the canvas is a multiple of this (the prior's total down-sampling).
        tolerance: of the conditional fill.
    """

    def __init__(self, iterations: int = 60, multiple: int = 16, tolerance: float = 0.01) -> None:
        self.iterations, self.multiple, self.tolerance = iterations, multiple, tolerance

    def canvas(self, frame: tuple[int, int], kernel_size: int) -> tuple[int, int]:
        """Frame plus one kernel, so that the kernel never wraps round into the frame; a good FFT size."""
        h, w = (good_size(n + kernel_size, self.multiple) for n in frame)
        return h, w

    def __call__(self, x: Tensor, k: Tensor, frame: tuple[int, int] | None = None) -> Tensor:
        """(B, C, *canvas) -> the blurred canvas, or only its `frame`."""
        size = size_of(x)
        y = ifft(otf(k, size) * fft(x), size)
        return y if frame is None else crop(y, frame)

    def adjoint(self, y: Tensor, k: Tensor, size: tuple[int, int]) -> Tensor:
        """A^T y, onto a canvas of `size`: embed in zeros, then correlate."""
        return ifft(otf(k, size).conj() * fft(embed(y, size)[0]), size)

    def frame(self, x: Tensor, frame: tuple[int, int]) -> Tensor:
        """The part of a canvas that the observation shows."""
        return crop(x, frame)

    def residual(self, y: Tensor, x: Tensor, k: Tensor, covariance: Tensor, excess: Tensor | None = None) -> Tensor:
        """y - k * x in the frame, continued outside it by the conditional fill under `covariance` (see there).

        Where noise has an `excess`, what `unequal_noise` makes of it instead.
        """
        size = size_of(x)
        canvas, mask = embed(y, size)
        r = canvas - ifft(otf(k, size) * fft(x), size)
        if excess is not None:
            return unequal_noise(r, mask, covariance, excess, self.iterations, self.tolerance)
        return conditional_fill(r, mask, covariance, self.iterations, self.tolerance)


Convolution = CircularConvolution | FreeConvolution


def wiener(A: Convolution, y: Tensor, k: Tensor, spectrum: Tensor, sigma: Tensor, x0: Tensor) -> Tensor:
    """The posterior mean of x around x0 for a Gaussian prior of the given power spectrum: the closed-form data step.

    x_1 = x_0 + F^-1[ conj(K) R / (|K|^2 R + sigma^2) F(y - k * x_0) ]

    Args:
        A: circular or free boundaries.
        y: (B, C, H, W) the observation.
        k: (B, 1, n, n).
        spectrum: R, broadcastable to (B, 1, H', W' // 2 + 1), the power of x - x_0.
        sigma: noise level of y, (B, 1, 1, 1), or (B, C, H, W) where it differs from pixel to pixel.
        x0: (B, C, H', W') on the canvas.
    """
    size = size_of(x0)
    K = otf(k, size)
    base, excess = split(sigma)
    c = K.abs().square() * spectrum + base
    r = A.residual(y, x0, k, c, excess)
    return x0 + ifft(K.conj() * spectrum / c * fft(r), size)


def mean_image(A: Convolution, y: Tensor, kernel_size: int) -> Tensor:
    """The mean colour of y on the whole canvas, a neutral x_0 for `wiener`."""
    size = A.canvas((y.shape[-2], y.shape[-1]), kernel_size)
    return y.mean((-2, -1), keepdim=True).expand(*y.shape[:2], *size).clone(memory_format=torch.contiguous_format)
