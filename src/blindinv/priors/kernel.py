"""Networks that know blur kernels: the plug-and-play denoiser (LatentDEM, Bai et al., appendix B.2), and one that corrects EM."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.kernels.measure import normalize
from blindinv.precision import computing

SCALE = 64.0


class KernelDenoiser(nn.Module):
    """DnCNN of 5 convolutions with 32 channels and the noise level as a second input channel.

    Works on kernels of any size; noise levels are in the units of a kernel that sums to 1 (about 1e-4 to 1e-2).

    Args:
        channels: of the layers in between.
        depth: convolutions.

    Attributes:
        dtype: that the layers compute in, None: the quickest of the device (see `precision`).
    """

    def __init__(self, channels: int = 32, depth: int = 5) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = torch.float32
        self.config = dict(channels=channels, depth=depth)
        layers: list[nn.Module] = [nn.Conv2d(2, channels, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    @property
    def exact(self) -> "KernelDenoiser":
        """The same weights in float32: for estimates that a choice hangs on, which rounding could tip."""
        other = copy.copy(self)
        other.dtype = torch.float32
        return other

    def forward(self, k: Tensor, sigma: float | Tensor) -> Tensor:
        """Remove Gaussian noise of standard deviation `sigma` (a number or (B, 1, 1, 1)) from kernels (B, 1, n, n)."""
        level = torch.as_tensor(sigma, dtype=k.dtype, device=k.device).expand(len(k), 1, 1, 1).expand_as(k)
        with computing(k.device, self.dtype):
            noise = self.layers(torch.cat([k, level], 1) * SCALE)
        return k - noise.to(k.dtype) / SCALE


HOLDS = (1e6, 1e5, 2e4)
"""Strengths of the hold of the least-squares estimates that `KernelRefiner` looks at, see `HQS.squares`."""
SHARE = 0.3
"""Share of the start in the mean of start and EM that the refiner corrects."""


def _block(before: int, after: int) -> nn.Sequential:
    convs = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
    return nn.Sequential(convs[0], nn.SiLU(), convs[1], nn.SiLU())


class KernelRefiner(nn.Module):
    """The mean of the kernels that can be behind what EM found, learned from EM's own errors.

    A Gaussian denoiser knows kernels; it does not know that EM leaves thin lines thick, links missing and noise where the
    picture has no detail. This UNet was shown what EM found on many blurred photos, with the truth. It corrects the mean
    of start and EM, from both and the least-squares estimates of the last M-step. It knows the kernels of one simulator,
    and takes those of others for badly drawn ones of its own.

    Args:
        channels: at full resolution.
    """

    def __init__(self, channels: int = 20) -> None:
        super().__init__()
        self.config = dict(kind="kernel refiner", channels=channels)
        c = channels
        self.down = nn.ModuleList([_block(3 + len(HOLDS), c), _block(c, 2 * c), _block(2 * c, 3 * c)])
        self.up = nn.ModuleList([_block(5 * c, 2 * c), _block(3 * c, c)])
        self.leave = nn.Conv2d(c, 1, 3, padding=1)
        for p in self.leave.parameters():
            nn.init.zeros_(p)

    def correction(self, v: Tensor) -> Tensor:
        """What is added to the mean of the first two channels of v, (B, 6, n, n), see `features`; n any size."""
        n, m = v.shape[-2:]
        kept, v = [], F.pad(v, (0, -m % 4, 0, -n % 4)).contiguous(memory_format=torch.channels_last)
        for i, block in enumerate(self.down):
            v = block(F.avg_pool2d(v, 2) if i else v)
            kept.append(v)
        for block, side in zip(self.up, (kept[1], kept[0]), strict=True):
            v = block(torch.cat([side, F.interpolate(v, scale_factor=2.0)], 1))
        return self.leave(v)[..., :n, :m]

    def forward(self, v: Tensor) -> Tensor:
        """Kernels, not normalised, (B, 1, n, n) >= 0 from `features`."""
        return (mean_kernel(v[:, :1], v[:, 1:2]) + self.correction(v).to(v)).clamp(min=0)

    @torch.no_grad()
    def averaged(self, v: Tensor) -> Tensor:
        """The kernel (B, 1, n, n) from `features`, normalised, the mean over the eight turned and mirrored copies."""
        total = torch.zeros_like(v[:, :1])
        for turns in range(4):
            for mirror in (False, True):
                seen = torch.rot90(v, turns, (-2, -1))
                made = self(seen.flip(-1) if mirror else seen)
                total = total + torch.rot90(made.flip(-1) if mirror else made, -turns, (-2, -1))
        return normalize(total)


def mean_kernel(start: Tensor, found: Tensor, keep: float = SHARE) -> Tensor:
    """What there is without a network: the mean of EM's kernel and its start, which has the weight `keep`."""
    return keep * start + (1 - keep) * found


def features(start: Tensor, found: Tensor, squares: Tensor) -> Tensor:
    """What `KernelRefiner` sees, (B, 6, n, n): start, kernel of EM and least squares at unit norm, and the norm."""
    norm = found.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.cat([torch.cat([start, found, squares], 1) / norm * 8, norm.expand_as(found)], 1)
