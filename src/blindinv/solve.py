"""The one reverse-diffusion loop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from blindinv.protocols import Estimate, Guidance, Guided, Part, Prior, Step, Unknown, generators, randn
from blindinv.step import DDIM


@dataclass(frozen=True)
class Progress:
    """What the loop knows after a step.

    Attributes:
        step: 1 .. total.
        total: number of steps.
        t: timestep that was left.
        full: whether guidance and M-step ran (skip-gradient skips them).
        phi: current unknown, a tensor or tensors by name.
        x: current image estimate on the canvas, or None after a skipped step that is not the last.
        z0: current posterior mean of z; empty while a method is still looking for a kernel to start from.
    """

    step: int
    total: int
    t: int
    full: bool
    phi: Any
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

    def take(self, z: Tensor, guided: Guided | None, z0: Tensor, i: int, noise: Tensor, name: str | None = None) -> Tensor:
        """z after the i-th reverse step: that of the image, or that of the part called `name`."""
        t, s = self.timesteps[i], self.timesteps[i + 1] if i + 1 < len(self.timesteps) else -1
        shift = None
        if guided is not None:
            shift = guided.shift if name is None else guided.shifts.get(name)
        z = self.step(self.prior.schedule, z.detach(), z0.detach(), t, s, noise)
        return z if shift is None else z - shift


Treatment = Unknown | Diffused


def always(i: int, t: int) -> bool:
    """Every step is a full one."""
    return True


class _Parts:
    """phi during a run: parts that are known or estimated, and parts with a reverse diffusion of their own."""

    def __init__(self, phi: Treatment | Mapping[str, Treatment], total: int) -> None:
        self.named = isinstance(phi, Mapping)
        parts: Mapping[str, Treatment] = phi if isinstance(phi, Mapping) else {"phi": phi}
        self.chains = {k: v for k, v in parts.items() if isinstance(v, Diffused)}
        self.held = {k: v for k, v in parts.items() if not isinstance(v, Diffused)}
        for name, chain in self.chains.items():
            if len(chain.timesteps) != total:
                raise ValueError(f"{name} has {len(chain.timesteps)} timesteps and the image {total}; they step together")
        self.values: dict[str, Tensor] = {k: v.initial for k, v in self.held.items()}
        self.z: dict[str, Tensor] = {}

    def begin(self, image: tuple[int, ...], rng: list[torch.Generator], like: Tensor) -> None:
        self.z = {k: chain.begin(image, rng, like) for k, chain in self.chains.items()}

    def denoise(self, i: int, grad: bool) -> dict[str, Part]:
        """One network evaluation per chain; the values follow."""
        states = {}
        for name, chain in self.chains.items():
            z, t = self.z[name].detach().requires_grad_(grad), chain.timesteps[i]
            states[name] = Part(t, z, chain.prior.denoise(z, t))
            self.values[name] = chain.prior.decode(states[name].z0)
        return states

    def update(self, e: Estimate) -> None:
        """The parts without a chain; each sees itself as phi."""
        for name, unknown in self.held.items():
            self.values[name] = unknown.update(replace(e, phi=self.values[name]))

    def phi(self, detached: bool = False) -> Any:
        values = {k: v.detach() if detached else v for k, v in self.values.items()}
        return values if self.named else values["phi"]

    def take(self, states: dict[str, Part], guided: Guided | None, i: int, rng: list[torch.Generator]) -> None:
        for name, chain in self.chains.items():
            noise = randn(tuple(self.z[name].shape), rng, self.z[name].device)
            self.z[name] = chain.take(states[name].z, guided, states[name].z0, i, noise, name)


def solve(
    y: Tensor,
    x: Diffused,
    phi: Treatment | Mapping[str, Treatment],
    guidance: Guidance,
    sigma: Tensor,
    *,
    canvas: tuple[int, int] | None = None,
    active: Callable[[int, int], bool] = always,
    rng: list[torch.Generator] | None = None,
) -> Iterator[Progress]:
    """Sample x given y while phi is known, estimated or diffused; yields once per timestep.

    Each full step: one network evaluation per chain, one decoding, phi's update, guidance (at most one backward pass for
    all chains), one reverse step. Where `active` is false only the networks and the reverse steps run (LatentDEM's
    Technique 2); if that is the last step, the image is decoded as well, without guidance.

    Args:
        y: (B, C, H, W) observation in [0, 1].
        x: prior, timesteps and step of the image.
        phi: treatment of the forward model's unknown: one, or one for each named part. A part that is `Diffused` has as
            many timesteps as the image and steps with it (BlindDPS).
        guidance: how the observation acts.
        sigma: noise level of y on [0, 1], (B, 1, 1, 1), or (B, C, H, W) where it differs from pixel to pixel.
        canvas: size of x where it is not that of y.
        active: (index from 0, t) -> whether it is a full step.
        rng: one generator per sample on y's device; default seeds 0, 1, ...

    Raises:
        ValueError: a part with another number of timesteps than the image.
    """
    rng = generators(0, len(y), y.device) if rng is None else rng
    image = (*y.shape[:2], *(canvas or tuple(y.shape[-2:])))
    prior, total = x.prior, len(x.timesteps)
    parts = _Parts(phi, total)
    with torch.no_grad():
        z = x.begin(image, rng, y)
        parts.begin(image, rng, y)
    for i, t in enumerate(x.timesteps):
        full, guided, shown = active(i, t), None, None
        grad = full and guidance.needs_grad
        with torch.set_grad_enabled(grad):
            z = z.detach().requires_grad_(grad)
            z0, states = prior.denoise(z, t), parts.denoise(i, grad)
            if full:
                e = Estimate(t, prior.schedule.at(t), z, z0, prior.decode(z0), y, parts.phi(), sigma, states)
                parts.update(e)
                guided = guidance(replace(e, phi=parts.phi()))
        stepped = z0 if guided is None else guided.z0
        with torch.no_grad():
            z = x.take(z, guided, stepped, i, randn(tuple(z.shape), rng, z.device))
            parts.take(states, guided, i, rng)
            if guided is not None:
                shown = guided.x.detach()
            elif i + 1 == total:
                shown = prior.decode(z0)
        yield Progress(i + 1, total, t, full, parts.phi(detached=True), shown, stepped.detach())
