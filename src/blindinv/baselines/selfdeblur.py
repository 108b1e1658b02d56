"""Blind deblurring by two untrained networks, one that makes the image and one that makes the kernel.

Each sample has networks of its own, fitted to the one observation: a convolutional autoencoder with skip connections, whose
structure favours natural images, and a fully connected network whose softmax is a kernel.

Reference: Ren, Zhang, Wang, Hu & Zuo, "Neural blind deconvolution using deep priors", CVPR 2020 (eqs. 7-9, algorithm 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.baselines.sparse import sparse_deconvolution_canvas
from blindinv.kernels.measure import recentre, roll_each
from blindinv.problem import Deblurring
from blindinv.protocols import generators
from blindinv.solve import Progress


@dataclass(frozen=True)
class SelfDeblur:
    """Settings; `PUBLISHED` has those of the paper, hours a photo on one core.

    Args:
        iterations: of Adam on both networks (paper: 5000).
        width: channels of the image network (paper: 128).
        skip: channels of its skip connections (paper: 16).
        depth: halvings of the resolution (paper: 5).
        rates: learning rates of image network and kernel network (paper: 1e-2, 1e-4: too slow for a kernel in 2000
            iterations); halved at 40, 60 and 80 percent.
        mse: share of the iterations with the mean squared error (paper: 1 of 5); then 1 - SSIM.
        sparse: share of a sparse-gradient deconvolution with the kernel found in the result (paper: 0).
        tv: weight of total variation over sigma (paper: 0.1).
        jitter: standard deviation of the noise on the networks' input, anew at each iteration (released code: 1e-3).
        hidden: units of the kernel network (paper: 1000).
        half: the image network in bfloat16; nearly twice as fast on new CPUs, slow on old ones.
    """

    iterations: int = 2000
    width: int = 32
    skip: int = 16
    depth: int = 5
    rates: tuple[float, float] = (1e-2, 1e-3)
    mse: float = 0.4
    sparse: float = 0.5
    tv: float = 0.1
    jitter: float = 1e-3
    hidden: int = 1000
    half: bool = True


PUBLISHED = SelfDeblur(iterations=5000, width=128, rates=(1e-2, 1e-4), mse=0.2, sparse=0.0, half=False)
INPUTS = 8  # channels of the image network's input
CODE = 200  # numbers of the kernel network's input


def _unit(a: int, b: int, size: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(a, b, size, stride, size // 2, padding_mode="reflect" if size > 1 else "zeros")
    return nn.Sequential(conv, nn.BatchNorm2d(b), nn.LeakyReLU(0.2))


class ImageNetwork(nn.Module):
    """The asymmetric autoencoder with skip connections; a sigmoid at its end.

    Args:
        width, skip, depth: see `SelfDeblur`.
    """

    def __init__(self, width: int, skip: int, depth: int) -> None:
        super().__init__()
        inputs = [INPUTS] + [width] * (depth - 1)
        self.down = nn.ModuleList(nn.Sequential(_unit(c, width, 3, 2), _unit(width, width, 3)) for c in inputs)
        self.skip = nn.ModuleList(_unit(c, skip, 1) for c in inputs)
        self.mix = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width + skip), _unit(width + skip, width, 3), _unit(width, width, 1)) for _ in inputs
        )
        self.leave = nn.Conv2d(width, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        """(1, 8, H, W) -> (1, 1, H, W) in (0, 1)."""
        kept = []
        for down, skip in zip(self.down, self.skip, strict=True):
            kept.append(skip(z))
            z = down(z)
        for mix, side in zip(reversed(self.mix), reversed(kept), strict=True):
            z = mix(torch.cat([side, F.interpolate(z, side.shape[-2:], mode="bilinear", align_corners=False)], 1))
        return torch.sigmoid(self.leave(z).float())


class _Pair:
    """The networks of one sample, their inputs and their optimiser."""

    def __init__(self, problem: Deblurring, rng: torch.Generator, settings: SelfDeblur) -> None:
        assert len(problem.y) == 1
        self.problem, self.settings, self.rng, device = problem, settings, rng, problem.y.device
        self.grey, n = problem.y.mean(1, keepdim=True), problem.kernel_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=rng, device=device)))
            image = ImageNetwork(settings.width, settings.skip, settings.depth)
            kernel = nn.Sequential(nn.Linear(CODE, settings.hidden), nn.ReLU6(), nn.Linear(settings.hidden, n * n))
        self.image, self.kernel = image.to(device).to(memory_format=torch.channels_last), kernel.to(device)
        canvas = problem.canvas
        self.z = 0.1 * torch.rand(1, INPUTS, *canvas, generator=rng, device=device)
        self.code = 0.1 * torch.rand(1, CODE, generator=rng, device=device)
        groups = [{"params": net.parameters(), "lr": r} for net, r in zip((image, kernel), settings.rates, strict=True)]
        self.adam = torch.optim.Adam(groups)
        steps = [round(settings.iterations * share) for share in (0.4, 0.6, 0.8)]
        self.fall = torch.optim.lr_scheduler.MultiStepLR(self.adam, steps, 0.5)

    def estimate(self) -> tuple[Tensor, Tensor]:
        """Image on the canvas (1, 1, H', W') and kernel (1, 1, n, n)."""
        s, n = self.settings, self.problem.kernel_size
        z = self.z + s.jitter * torch.randn(self.z.shape, generator=self.rng, device=self.z.device)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=s.half):
            x = self.image(z.contiguous(memory_format=torch.channels_last))
        if self.problem.kernel is not None:
            return x, self.problem.kernel
        return x, self.kernel(self.code).softmax(1).view(1, 1, n, n)

    def step(self, i: int) -> tuple[Tensor, Tensor]:
        """One step of Adam; the estimates before it."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        x, k = self.estimate()
        made = self.problem.frame(self.problem.A(x, k))
        if i < self.settings.mse * self.settings.iterations:
            loss = (made - self.grey).square().mean()
        else:
            loss = 1 - torch.as_tensor(structural_similarity_index_measure(made, self.grey, data_range=1.0))
        if self.settings.tv:
            roughness = x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()
            loss = loss + self.settings.tv * self.problem.sigma.mean() * roughness
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        self.fall.step()
        return x.detach(), k.detach()


def selfdeblur(problem: Deblurring, settings: SelfDeblur = SelfDeblur()) -> Iterator[Progress]:
    """Recover image and kernel; yields after each iteration and once more at the end. A known kernel stays as it is.

    The networks work on the mean of the colours, which `Progress.x` shows; in the end the kernel is centred, and the
    colours, differences from their mean, come from a sparse deconvolution with it, as does a share of their mean.

    Args:
        problem: what to deblur.
        settings: see `SelfDeblur`.
    """
    rng = problem.rng or generators(0, len(problem.y), problem.y.device)
    pairs = [_Pair(_sample(problem, b), rng[b], settings) for b in range(len(problem.y))]
    for i in range(settings.iterations):
        with torch.enable_grad():
            made = [pair.step(i) for pair in pairs]
        x, k = (torch.cat(part) for part in zip(*made, strict=True))
        shown = x.expand(-1, 3, -1, -1)
        yield Progress(i + 1, settings.iterations + 1, 0, True, k, shown, shown)
    x, k = (torch.cat(part).detach() for part in zip(*(pair.estimate() for pair in pairs), strict=True))
    if problem.kernel is None:
        k, shift = recentre(k)
        x = roll_each(x, -shift)
    classical = sparse_deconvolution_canvas(replace(problem, kernel=k))
    x = classical + (1 - settings.sparse) * (x - classical.mean(1, keepdim=True))
    yield Progress(settings.iterations + 1, settings.iterations + 1, 0, True, k, x, x)


def _sample(problem: Deblurring, b: int) -> Deblurring:
    kernel = None if problem.kernel is None else problem.kernel[b : b + 1]
    return replace(problem, y=problem.y[b : b + 1], sigma=problem.sigma[b : b + 1], kernel=kernel, rng=[])
