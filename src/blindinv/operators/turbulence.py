"""Imaging through turbulence: y = k * T_tau(x) + n, a tilt of every pixel, then a blur (BlindDPS, Chung et al., CVPR 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.operators.convolution import CircularConvolution, Convolution
from blindinv.operators.fourier import size_of


def warp(x: Tensor, tilt: Tensor) -> Tensor:
    """T_tau(x): pixel p of the result shows x at p + tau(p), bilinear between the four neighbours, on the torus.

    Differentiable in both arguments.

    Args:
        x: (B, C, H, W).
        tilt: (B or 1, 2, H, W) in pixels; channel 0 along the columns (to the right), channel 1 along the rows (down).

    Raises:
        ValueError: the field does not fit the image.
    """
    h, w = size_of(x)
    if tuple(tilt.shape[1:]) != (2, h, w) or len(tilt) not in (1, len(x)):
        raise ValueError(f"a tilt field for {len(x)} images of {w}x{h} is (B, 2, {h}, {w}), got {tuple(tilt.shape)}")
    rows, cols = torch.meshgrid(*(torch.arange(n, device=x.device, dtype=x.dtype) for n in (h, w)), indexing="ij")
    # One more column and row, those of the other side: with them a pixel's distance is 2 / n on grid_sample's [-1, 1].
    at = torch.stack([2 * ((cols + tilt[:, 0]) % w) / w - 1, 2 * ((rows + tilt[:, 1]) % h) / h - 1], -1)
    padded = F.pad(x, (0, 1, 0, 1), mode="circular")
    return F.grid_sample(padded, at.expand(len(x), -1, -1, -1), padding_mode="border", align_corners=True)


@dataclass(frozen=True)
class Turbulence:
    """A(x, phi) = k * T_tau(x) with phi = {"kernel": (B, 1, n, n), "tilt": (B, 2, H', W')} on the canvas of x. Pure.

    Borders are those of the blur: a torus, or a canvas larger than the frame whose scene goes on outside it. The tilt is
    periodic on the canvas (the paper fills with zeros instead); on free borders that is outside what the frame shows.

    Args:
        blur: circular or free convolution.
    """

    blur: Convolution

    @property
    def circular(self) -> bool:
        """Whether borders are periodic."""
        return isinstance(self.blur, CircularConvolution)

    def canvas(self, frame: tuple[int, int], kernel_size: int) -> tuple[int, int]:
        """Size of the image that makes an observation of size `frame`."""
        return self.blur.canvas(frame, kernel_size)

    def __call__(self, x: Tensor, phi: Mapping[str, Tensor]) -> Tensor:
        """(B, C, H', W') -> the tilted and blurred canvas."""
        return self.blur(warp(x, phi["tilt"]), phi["kernel"])

    def frame(self, x: Tensor, frame: tuple[int, int]) -> Tensor:
        """The part of a canvas that the observation shows."""
        return self.blur.frame(x, frame)

    def adjoint(self, y: Tensor, phi: Mapping[str, Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """A^T y onto a canvas of `size`, that of y if not given: correlate, then spread every pixel over its four sources."""
        back = self.blur.adjoint(y, phi["kernel"], size_of(y) if size is None else size)
        with torch.enable_grad():
            x = torch.zeros_like(back).requires_grad_()
            (gradient,) = torch.autograd.grad(warp(x, phi["tilt"].detach()), x, back.detach())
        return gradient

    def residual(
        self, y: Tensor, x: Tensor, phi: Mapping[str, Tensor], covariance: Tensor, excess: Tensor | None = None
    ) -> Tensor:
        """y - k * T_tau(x) on the canvas; outside the frame, or with an `excess` of noise, as the convolution's."""
        return self.blur.residual(y, warp(x, phi["tilt"]), phi["kernel"], covariance, excess)
