"""Geometry and figures of blur kernels, all (B, 1, k, k), on the device of their input."""

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.operators.fourier import moved


def normalize(k: Tensor) -> Tensor:
    """Clip to non-negative and divide by the sum, per sample; an all-zero kernel becomes a centred delta."""
    k = k.clamp(min=0)
    total = k.sum((-2, -1), keepdim=True)
    return torch.where(total > 1e-8, k / total.clamp(min=1e-8), delta(k.shape[-1], len(k)).to(k))


def delta(size: int, batch: int = 1) -> Tensor:
    """The kernel that does nothing: (batch, 1, size, size) with a one at index size // 2."""
    k = torch.zeros(batch, 1, size, size)
    k[..., size // 2, size // 2] = 1
    return k


def centre_of_mass(k: Tensor) -> Tensor:
    """(B, 2) row and column of the centre of mass, in pixels from the origin at index k // 2."""
    n, m = k.shape[-2:]
    total = k.sum((-3, -2, -1)).clamp(min=1e-12)
    rows = (k.sum((-3, -1)) * (torch.arange(n).to(k) - n // 2)).sum(-1) / total
    cols = (k.sum((-3, -2)) * (torch.arange(m).to(k) - m // 2)).sum(-1) / total
    return torch.stack([rows, cols], -1)


def roll_each(x: Tensor, shift: Tensor) -> Tensor:
    """Roll sample b of (B, C, H, W) by the whole-pixel `shift[b]`, (B, 2), without leaving the device."""
    h, w = x.shape[-2:]
    rows = (torch.arange(h, device=x.device) - shift[:, :1]) % h
    cols = (torch.arange(w, device=x.device) - shift[:, 1:]) % w
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[batch, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


def recentre(k: Tensor) -> tuple[Tensor, Tensor]:
    """Roll each kernel by whole pixels so that its centre of mass is nearest to the origin.

    Returns:
        the kernels and the (B, 2) shift that was applied; an image deblurred with the old kernel
        matches the new one after a roll by minus that shift.
    """
    shift = -centre_of_mass(k).round().long()
    return roll_each(k, shift), shift


def centre_of_main_part(k: Tensor) -> Tensor:
    """`centre_of_mass` of the values above 2 % of the maximum, (B, 2)."""
    return centre_of_mass(torch.where(k > 0.02 * k.amax((-2, -1), keepdim=True), k, torch.zeros_like(k)))


def shifted(k: Tensor, by: Tensor) -> Tensor:
    """Kernels (B, C, n, n) moved by fractions of a pixel, (B, 2); what leaves the support is lost, and signs may change.

    By the shift theorem: bilinear interpolation would blur a kernel that is a line one pixel wide.
    """
    n = k.shape[-1]
    far = F.pad(k, (n // 2,) * 4)  # what leaves on one side must not come in on the other
    inner = slice(n // 2, n // 2 + n)
    return moved(far, by)[..., inner, inner]


def centre_exactly(k: Tensor) -> Tensor:
    """Move each kernel so that the centre of mass of its main part is at the origin, to a fraction of a pixel. Sums stay 1."""
    return normalize(shifted(k, -centre_of_main_part(k)))


def resize_support(k: Tensor, size: int) -> Tensor:
    """Crop or zero-pad to (B, 1, size, size), keeping the origin at index size // 2, and normalise."""
    n = k.shape[-1]
    out = torch.zeros(*k.shape[:2], size, size, dtype=k.dtype, device=k.device)
    lo = max(0, n // 2 - size // 2)
    at = size // 2 - n // 2 + lo
    m = min(n - lo, size - at)
    out[..., at : at + m, at : at + m] = k[..., lo : lo + m, lo : lo + m]
    return normalize(out)


def interpolated(k: Tensor, by: Tensor) -> Tensor:
    """Kernels (B, 1, n, n) moved by fractions of a pixel, (B, 2), by cubic interpolation; non-negative, sums stay 1."""
    n = k.shape[-1]
    rows, cols = torch.meshgrid(*(torch.arange(n).to(k),) * 2, indexing="ij")
    grid = torch.stack([cols - by[:, 1, None, None], rows - by[:, 0, None, None]], -1)
    return normalize(F.grid_sample(k, grid * 2 / (n - 1) - 1, "bicubic", align_corners=True))


def _correlation(a: Tensor, b: Tensor, upsample: int) -> Tensor:
    """sum_p a(p + s) b(p) over all shifts s, (B, 1, m, m) in double precision; the shift 0 is at index 0."""
    n = 2 * max(a.shape[-1], b.shape[-1])
    cross = torch.fft.fft2(a.double(), (n, n)) * torch.fft.fft2(b.double(), (n, n)).conj()
    if upsample > 1:
        pad = (upsample - 1) * n // 2
        cross = torch.fft.ifftshift(F.pad(torch.fft.fftshift(cross, (-2, -1)), (pad,) * 4), (-2, -1))
    return torch.fft.ifft2(cross).real * upsample**2


def mnc(a: Tensor, b: Tensor, upsample: int = 1) -> Tensor:
    """Maximum of the normalised cross-correlation over all shifts, (B,), 1 for equal kernels up to a shift.

    Args:
        a: (B, 1, n, n).
        b: (B, 1, m, m).
        upsample: shifts are whole pixels for 1, halves for 2, ...

    Reference: Hu & Yang, "Good regions to deblur", ECCV 2012.
    """
    peak = _correlation(a, b, upsample).amax((-3, -2, -1))
    return (peak / a.double().flatten(1).norm(dim=1) / b.double().flatten(1).norm(dim=1)).to(a.dtype)


def offset(a: Tensor, b: Tensor, upsample: int = 1) -> Tensor:
    """(B, 2): by how many pixels, or fractions of 1 / upsample, a must move to correlate best with b, both (B, 1, n, n)."""
    correlation = _correlation(a, b, upsample)
    m = correlation.shape[-1]
    best = correlation.flatten(1).argmax(1)
    shift = torch.stack([best // m, best % m], -1)
    return -torch.where(shift > m // 2, shift - m, shift).to(a) / upsample


def kernel_mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error after the best whole-pixel shift, of kernels scaled to a maximum of `b` = 1, (B,)."""
    n = 2 * max(a.shape[-1], b.shape[-1])
    a, b = resize_support(a, n), resize_support(b, n)
    size = n // 2
    return ((roll_each(a, offset(a, b).long()) - b) / b.amax((-3, -2, -1), keepdim=True)).square().sum((-3, -2, -1)) / size**2
