"""Camera-shake kernels: a random walk with inertia, as in Boracchi & Foi, "Modeling the performance of image
restoration from motion blur", IEEE TIP 2012, with the one-knob intensity that the blind deblurring papers use."""

import math

import torch
from torch import Tensor

from blindinv.kernels.measure import normalize

STEPS = 500


def trajectory(batch: int, length: Tensor, intensity: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Camera paths (batch, STEPS, 2) in pixels.

    The direction of a particle of constant speed is changed at every step by Gaussian jitter, by a pull back to the
    start, and rarely by an impulse that turns it round; `intensity` scales all three.

    Args:
        length: (batch,) length of each path in pixels.
        intensity: (batch,) in [0, 1]: 0 is a straight line.
    """

    def uniform() -> Tensor:
        return torch.rand(batch, generator=generator)

    speed = length / STEPS
    anxiety = 0.03 * intensity
    jitter, pull, impulse = 10 * uniform(), 0.07 * uniform(), 0.2 * uniform()
    angle = 2 * math.pi * uniform()
    v = torch.polar(speed, angle)
    x = torch.zeros(batch, dtype=torch.complex64)
    path = [x]
    noise = torch.randn(STEPS, batch, dtype=torch.complex64, generator=generator) * math.sqrt(2)
    turn = torch.rand(STEPS, 2, batch, generator=generator)
    for step in range(STEPS - 1):
        kick = (
            torch.where(turn[step, 0] < impulse * anxiety, 2.0, 0.0)
            * v
            * torch.polar(torch.ones(batch), math.pi + turn[step, 1] - 0.5)
        )
        v = v + kick + anxiety * (jitter * noise[step] - pull * x) * speed
        v = v / v.abs().clamp(min=1e-12) * speed
        x = x + v
        path.append(x)
    return torch.view_as_real(torch.stack(path, 1))


def rasterize(path: Tensor, size: int) -> Tensor:
    """Draw paths (B, T, 2) as kernels (B, 1, size, size): bilinear splats, centre of mass at the origin.

    A path too wide for the kernel is shrunk to fit.
    """
    path = path - path.mean(1, keepdim=True)
    reach = path.abs().amax((1, 2), keepdim=True)
    room = (size - 1) // 2 - 1
    path = path * (room / reach.clamp(min=room)) + size // 2
    low = path.floor()
    frac, low = path - low, low.long()
    out = torch.zeros(len(path), size * size)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (frac[..., 0] if dy else 1 - frac[..., 0]) * (frac[..., 1] if dx else 1 - frac[..., 1])
            out.scatter_add_(1, (low[..., 0] + dy) * size + low[..., 1] + dx, weight)
    return normalize(out.view(-1, 1, size, size))


def motion_kernels(batch: int, size: int, intensity: float | Tensor = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Random camera-shake kernels (batch, 1, size, size), non-negative, sum 1, centre of mass at index size // 2.

    Args:
        size: 9 to 129, odd or even.
        intensity: in [0, 1], a number or (batch,): how long and how shaken the movement is.

    Raises:
        ValueError: size or intensity out of range.
    """
    intensity = torch.as_tensor(intensity, dtype=torch.float32).expand(batch)
    if not 9 <= size <= 129:
        raise ValueError(f"kernel size {size} is outside 9..129")
    if ((intensity < 0) | (intensity > 1)).any():
        raise ValueError("intensity must be in [0, 1]")
    u, v = torch.rand(2, batch, generator=generator)
    length = 0.75 * math.sqrt(2) * size * (u + v * intensity.square()).clamp(min=0.05)
    return rasterize(trajectory(batch, length, intensity, generator), size)
