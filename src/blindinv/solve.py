"""The one reverse-diffusion loop."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindinv.protocols import Estimate, Guidance, Guided, Prior, Step, Unknown, generators, randn
from blindinv.step import DDIM


@dataclass(frozen=True)
class Progress:
    """What the loop knows after a step.

    Attributes:
        step: 1 .. total.
        total: number of steps.
        t: timestep that was left.
        full: whether guidance and M-step ran (skip-gradient skips them).
        phi: current unknown.
        x: current image estimate on the canvas, or None after a skipped step that is not the last.
        z0: current posterior mean of z.
    """

    step: int
    total: int
    t: int
    full: bool
    phi: Tensor
    x: Tensor | None
    z0: Tensor


@dataclass(frozen=True)
class Diffused:
    """An unknown with a reverse diffusion of its own.

    Args:
        prior: its diffusion model.
        timesteps: visited in this order; the last one goes to the clean end.
        step: reverse step.
        start: an image on the canvas to start from (it is encoded and noised to the first timestep); None: from noise.
    """

    prior: Prior
    timesteps: Sequence[int]
    step: Step = field(default_factory=DDIM)
    start: Tensor | None = None

    def begin(self, image: tuple[int, ...], rng: list[torch.Generator], like: Tensor) -> Tensor:
        """z at the first timestep."""
        noise = randn(self.prior.shape(image), rng, like.device)
        if self.start is None:
            return noise
        abar = self.prior.schedule.at(self.timesteps[0])
        return abar**0.5 * self.prior.encode(self.start) + (1 - abar) ** 0.5 * noise


def always(i: int, t: int) -> bool:
    """Every step is a full one."""
    return True


def solve(
    y: Tensor,
    x: Diffused,
    phi: Unknown,
    guidance: Guidance,
    sigma: Tensor,
    *,
    canvas: tuple[int, int] | None = None,
    active: Callable[[int, int], bool] = always,
    rng: list[torch.Generator] | None = None,
) -> Iterator[Progress]:
    """Sample x given y while phi is known or estimated; yields once per timestep.

    Each full step: one network evaluation, one decoding, phi's update, guidance (at most one backward pass),
    one reverse step. Where `active` is false only the network and the reverse step run (LatentDEM's Technique 2);
    if that is the last step, the image is decoded as well, without guidance.

    Args:
        y: (B, C, H, W) observation in [0, 1].
        x: prior, timesteps and step of the image.
        phi: treatment of the forward model's unknown.
        guidance: how the observation acts.
        sigma: (B, 1, 1, 1) noise level of y on [0, 1].
        canvas: size of x where it is not that of y.
        active: (index from 0, t) -> whether it is a full step.
        rng: one generator per sample on y's device; default seeds 0, 1, ...
    """
    rng = generators(0, len(y), y.device) if rng is None else rng
    image = (*y.shape[:2], *(canvas or tuple(y.shape[-2:])))
    prior, current, total = x.prior, phi.initial, len(x.timesteps)
    with torch.no_grad():
        z = x.begin(image, rng, y)
    for i, t in enumerate(x.timesteps):
        s = x.timesteps[i + 1] if i + 1 < total else -1
        full = active(i, t)
        with torch.set_grad_enabled(full and guidance.needs_grad):
            z = z.detach().requires_grad_(full and guidance.needs_grad)
            z0 = prior.denoise(z, t)
            if full:
                estimate = Estimate(t, prior.schedule.at(t), z, z0, prior.decode(z0), y, current, sigma)
                current = phi.update(estimate)
                guided = guidance(Estimate(**{**estimate.__dict__, "phi": current}))
            else:
                guided = Guided(z0, None, z0)
        with torch.no_grad():
            noise = randn(tuple(z.shape), rng, z.device)
            z = x.step(prior.schedule, z.detach(), guided.z0.detach(), t, s, noise)
            if guided.shift is not None:
                z = z - guided.shift
            shown = guided.x.detach() if full else prior.decode(z0) if s < 0 else None
        yield Progress(i + 1, total, t, full, current, shown, guided.z0.detach())
