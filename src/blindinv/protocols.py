"""The nouns of the package. Everything else composes these five: Prior, Operator, Unknown, Guidance, MStep.

Symbols, the same in every file: y observation, x image, phi unknown of the forward model (k for a blur kernel),
z_t diffusion state at timestep t, z0 = E[z_0 | z_t], x0 = decode(z0), abar_t, sigma noise level of y.
Images are (B, C, H, W) in [0, 1]; sigma is (B, 1, 1, 1) on that scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from blindinv.schedule import Schedule

Phi = Tensor | Mapping[str, Tensor]
"""The unknown of a forward model: one tensor, or several parts by name ("kernel", "tilt")."""


class Prior(Protocol):
    """What a diffusion model knows about one unknown."""

    schedule: Schedule

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images of shape (B, C, H, W)."""
        ...

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t]."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """z -> images, about [0, 1], not clipped."""
        ...

    def encode(self, x: Tensor) -> Tensor:
        """Images -> z."""
        ...


class Forward(Protocol):
    """What a loss needs of a forward model: y is about frame(A(x, phi)), differentiable in x and phi."""

    def __call__(self, x: Tensor, phi: Any, /) -> Tensor:
        """A(x, phi), where phi is a tensor or, for operators of several parts, tensors by name."""
        ...

    def frame(self, x: Tensor, frame: tuple[int, int], /) -> Tensor:
        """The part of A(x, phi) that the observation, of size `frame`, shows."""
        ...


class Operator(Forward, Protocol):
    """y = A(x, phi). Pure: phi is an argument, never state."""

    def adjoint(self, y: Tensor, phi: Any, /) -> Tensor:
        """A^T y, the adjoint of A(., phi)."""
        ...


@dataclass(frozen=True)
class Part:
    """The state of a diffused part of phi.

    Attributes:
        t: its timestep, of its own prior's schedule.
        z: z_t (requires grad where a guidance asked for it).
        z0: E[z_0 | z_t]; the value in `Estimate.phi` is decode(z0).
    """

    t: int
    z: Tensor
    z0: Tensor


@dataclass(frozen=True)
class Estimate:
    """What is known at one step of the reverse diffusion.

    Attributes:
        t: timestep.
        abar: abar_t.
        z: z_t (requires grad where a guidance asked for it).
        z0: E[z_0 | z_t].
        x0: decode(z0).
        y: the observation.
        phi: the current unknown of the forward model.
        sigma: noise level of y, (B, 1, 1, 1), or (B, C, H, W) where it differs from pixel to pixel.
        parts: the states of those parts of phi that have a reverse diffusion of their own ("phi" if there is one without a name).
    """

    t: int
    abar: float
    z: Tensor
    z0: Tensor
    x0: Tensor
    y: Tensor
    phi: Any
    sigma: Tensor
    parts: Mapping[str, Part] = field(default_factory=dict)


class Loss(Protocol):
    """One number per sample, (B,), of an estimate; differentiable in z."""

    def __call__(self, e: Estimate, /) -> Tensor:
        """The loss of each sample, (B,)."""
        ...


@dataclass(frozen=True)
class Guided:
    """What guidance makes of an estimate.

    Attributes:
        z0: the posterior mean to step with.
        shift: subtracted from the state after the step (None: nothing).
        x: the image estimate that belongs to it.
        shifts: subtracted from the states of diffused parts of phi, by name.
    """

    z0: Tensor
    shift: Tensor | None
    x: Tensor
    shifts: Mapping[str, Tensor] = field(default_factory=dict)


class Guidance(Protocol):
    """Draws the state towards the observation."""

    @property
    def needs_grad(self) -> bool:
        """Whether it differentiates in z: then z requires grad and the network's graph is kept."""
        ...

    def __call__(self, e: Estimate, /) -> Guided:
        """What to step with, and the image estimate."""
        ...


class MStep(Protocol):
    """phi <- argmax log p(y | x0, phi) + log p(phi)."""

    def __call__(self, y: Tensor, x: Tensor, phi: Tensor, t: int, sigma: Tensor, /) -> Tensor:
        """The new phi, from the image estimate x at t and the phi before."""
        ...


class Unknown(Protocol):
    """How phi is treated while x is sampled."""

    @property
    def initial(self) -> Tensor:
        """phi before the first step."""
        ...

    def update(self, e: Estimate, /) -> Tensor:
        """phi after the E-step's estimate at t."""
        ...


class Step(Protocol):
    """One reverse step from t to s < t (s = -1 is the clean end)."""

    def __call__(self, schedule: Schedule, z: Tensor, z0: Tensor, t: int, s: int, noise: Tensor, /) -> Tensor:
        """z_s from z_t and E[z_0 | z_t]."""
        ...


def generators(seed: int, count: int, device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One random generator per sample, so that sample b is the same whatever its batch mates are."""
    return [torch.Generator(device).manual_seed(seed * 1_000_003 + i) for i in range(count)]


def randn(shape: tuple[int, ...], generators: list[torch.Generator], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise (B, ...), sample b from generator b."""
    return torch.stack([torch.randn(shape[1:], generator=g, device=device) for g in generators])
