"""Supervised restoration: one network from the blurred photo to the sharp one, trained on pairs of them.

It stands for the networks that the papers compare with: Zamir et al., "Multi-stage progressive image restoration"
(MPRNet), CVPR 2021, and Kupyn et al., "DeblurGAN-v2", ICCV 2019; it is smaller than both.
"""

import itertools
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.kernels.measure import centre_exactly, delta, normalize
from blindinv.operators.boundary import embed, harmonic_fill
from blindinv.operators.fourier import fft, gradient_otf, psf, size_of
from blindinv.problem import Deblurring
from blindinv.solve import Progress

FACTOR = 4  # pixels go four by four into channels
SIGMA_SCALE = 25.0  # the noise channel is about one at the largest trained noise


class Block(nn.Module):
    """x + conv(gelu(conv(x))); the second convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x + self.second(F.gelu(self.first(x)))


class Restorer(nn.Module):
    """A residual UNet that begins at a quarter of the resolution; without normalisation, so that it runs at any size.

    Args:
        channels: at 1/4, 1/8, 1/16, ... of the resolution.
        blocks: residual blocks at each, on the way down and again on the way up.
    """

    def __init__(self, channels: tuple[int, ...] = (64, 128, 256), blocks: int = 2) -> None:
        super().__init__()
        self.config = dict(channels=list(channels), blocks=blocks)
        pixels, steps = 3 * FACTOR**2, list(itertools.pairwise(channels))
        self.enter = nn.Conv2d(pixels + 1, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_blocks(c, blocks) for c in channels)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.ups = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in steps)
        self.up_blocks = nn.ModuleList(_blocks(a, blocks) for a, _ in steps)
        self.leave = nn.Conv2d(channels[0], pixels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Sharp photos (B, 3, H, W), about [0, 1], not clipped.

        Args:
            y: (B, 3, H, W) in [0, 1], any size.
            sigma: noise level on [0, 1], a number or (B, 1, 1, 1).
        """
        h, w = y.shape[-2:]
        multiple = FACTOR * 2 ** len(self.downs)
        padded = F.pad(y, (0, -w % multiple, 0, -h % multiple), mode="replicate")
        x = F.pixel_unshuffle(padded - 0.5, FACTOR)
        level = SIGMA_SCALE * torch.as_tensor(sigma, dtype=y.dtype, device=y.device).expand(len(y), 1, 1, 1)
        x = self.enter(torch.cat([x, level.expand(-1, -1, *x.shape[-2:])], 1))
        skips = []
        for i, run in enumerate(self.down_blocks):
            x = run(x)
            if i < len(self.downs):
                skips.append(x)
                x = self.downs[i](x)
        for up, run, skip in zip(reversed(self.ups), reversed(self.up_blocks), reversed(skips), strict=True):
            x = run(skip + F.pixel_shuffle(up(x), 2))
        return (padded + F.pixel_shuffle(self.leave(x), FACTOR))[..., :h, :w]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels) for _ in range(count)))


def load_restorer(path: str | PathLike[str] | None = None) -> nn.Module:
    """A network (y (B, 3, H, W) in [0, 1], sigma (B, 1, 1, 1)) -> x (B, 3, H, W), on the CPU.

    Args:
        path: None: the shipped one. A safetensors file as `blindinv train restorer` writes it; or a TorchScript module
            (.pt, .ts) of yours that takes the same two arguments. TorchScript runs what is in the file: give only
            files that you trust.

    Raises:
        ValueError: there is no such file, or it is not a restorer.
    """
    from safetensors import SafetensorError

    from blindinv.zoo.shipped import WEIGHTS, read_weights

    file = WEIGHTS / "restorer.safetensors" if path is None else Path(path)
    if not file.is_file():
        raise ValueError(f"there is no restorer {file}")
    if file.suffix in (".pt", ".ts"):
        try:
            return torch.jit.load(str(file), map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"{file} is not a TorchScript module") from error
    try:
        tensors, config = read_weights(file)
        model = Restorer(tuple(config["channels"]), config["blocks"])
        model.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{file} is not the weights of a restorer") from error
    return model.to(memory_format=torch.channels_last).requires_grad_(False).eval()


@torch.no_grad()
def restore(problem: Deblurring, restorer: nn.Module) -> Iterator[Progress]:
    """One pass of the network; the kernel is the one that best makes the observation from its image.

    Args:
        problem: what to deblur; a known kernel is passed on, the network has no use for it.
        restorer: as `load_restorer` gives.

    Raises:
        ValueError: the network does not return images of the size of its input.
    """
    image = restorer(problem.y, problem.sigma)
    if image.shape != problem.y.shape:
        raise ValueError(f"the restorer made {tuple(image.shape)} of {tuple(problem.y.shape)}; it must keep the shape")
    k = problem.kernel if problem.kernel is not None else explaining_kernel(problem, image)
    canvas, mask = embed(image, problem.canvas)
    x = canvas if problem.circular else harmonic_fill(canvas, mask)
    yield Progress(1, 1, 0, True, k, x, x)


def explaining_kernel(problem: Deblurring, image: Tensor, ridge: float = 1e-2, threshold: float = 0.05) -> Tensor:
    """The kernel that makes y from an image, (B, 1, n, n): regularised least squares on gradients, in closed form.

    Args:
        problem: the observation.
        image: (B, 3, H, W), of the frame.
        ridge: weight of |k|^2 over the mean power of the image's gradients.
        threshold: values below this share of the maximum are cut.
    """
    pairs = [embed(u, problem.canvas) for u in (image, problem.y)]
    x, y = (c if problem.circular else harmonic_fill(c, mask) for c, mask in pairs)
    size = size_of(x)
    slope = sum(d.abs().square() for d in gradient_otf(size, x.device))
    X, Y = fft(x), fft(y)
    power = (X.abs().square() * slope).sum(1, keepdim=True)
    top = (X.conj() * Y * slope).sum(1, keepdim=True)
    K = top / (power + ridge * power.mean((-2, -1), keepdim=True))
    k = psf(K, size, problem.kernel_size).clamp(min=0)
    k = k * (k > threshold * k.amax((-2, -1), keepdim=True))
    return centre_exactly(normalize(k)) if bool((k > 0).any()) else delta(problem.kernel_size, len(k)).to(k)
