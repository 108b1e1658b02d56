"""Any forward model of `deepinv.physics` as an operator of ours."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor

from blindinv.protocols import Phi


@dataclass(frozen=True)
class DeepinvOperator:
    """y = A(x, phi), where phi is one or more named parameters of a `deepinv.physics.Physics`; without its noise.

    Physics store the parameters that a call brings. Here every call works on a shallow copy, so that `physics` is never
    changed and phi stays an argument. Gradients flow to x and to phi; device and dtype are those of phi.

    With `BlurFFT` and with `Blur(padding="circular")` and `names="filter"` this is `CircularConvolution`: deepinv
    convolves (does not correlate), and its filters have their origin at index n // 2 too, also for even n. `BlurFFT`
    works at the image size, and with the number of channels, that it was made for. With `Blur(padding="valid")` y is
    smaller than x, as its own convention has it: pixel (0, 0) of y is pixel (n - 1 - n // 2, same) of x.

    Args:
        physics: linear or not, for instance `BlurFFT((3, H, W))` or `SpaceVaryingBlur()`.
        names: of a parameter, such as "filter": phi is a tensor; or of several, such as ("filters", "multipliers"): phi is
            a dictionary of tensors by these names.

    Raises:
        ValueError: the physics has no parameter of that name (deepinv would ignore it), or phi does not fit the names.
    """

    physics: Physics
    names: str | tuple[str, ...]

    def __post_init__(self) -> None:
        for name in (self.names,) if isinstance(self.names, str) else self.names:
            if not hasattr(self.physics, name):
                raise ValueError(f"{type(self.physics).__name__} has no parameter {name!r}")

    def __call__(self, x: Tensor, phi: Phi) -> Tensor:
        """A(x, phi)."""
        given = self._named(phi)
        return _copy(self.physics, _first(given)).A(x, **given)

    def frame(self, x: Tensor, frame: tuple[int, int]) -> Tensor:
        """What the observation shows of A(x, phi): all of it."""
        return x

    def adjoint(self, y: Tensor, phi: Phi, x: Tensor | None = None) -> Tensor:
        """A^T y by the physics itself where it is linear; else J^T y, J the derivative of A(., phi) at x.

        Args:
            y: (B, C, H, W).
            phi: as everywhere.
            x: where a physics that is not linear is linearised; None: at zero, at the size of y.
        """
        given = self._named(phi)
        if isinstance(self.physics, LinearPhysics):
            return _copy(self.physics, _first(given)).A_adjoint(y, **given)
        x = torch.zeros_like(y) if x is None else x
        with torch.enable_grad():
            return torch.autograd.functional.vjp(lambda v: self(v, phi), x, y)[1]

    def _named(self, phi: Phi) -> dict[str, Tensor]:
        if isinstance(self.names, str):
            if isinstance(phi, Tensor):
                return {self.names: phi}
            raise ValueError(f"phi is the tensor {self.names!r} alone, not parts by name")
        if not isinstance(phi, Mapping) or set(phi) != set(self.names):
            raise ValueError(f"phi has the parts {', '.join(self.names)}")
        return dict(phi)


def _first(given: dict[str, Tensor]) -> Tensor:
    return next(iter(given.values()))


def _like(buffer: Tensor | None, phi: Tensor) -> Tensor | None:
    """The buffer on phi's device and in its precision (deepinv casts parameters to those of the buffers they replace)."""
    if buffer is None:
        return None
    dtype = phi.dtype.to_complex() if buffer.is_complex() else phi.dtype if buffer.is_floating_point() else buffer.dtype
    return buffer.to(phi.device, dtype)


def _copy(physics: Any, phi: Tensor) -> Any:
    """A copy that shares tensors with the physics; what is set on it or on its parts does not reach the physics."""
    new = copy.copy(physics)
    new._buffers = {k: _like(v, phi) for k, v in physics._buffers.items()}
    new._parameters = dict(physics._parameters)
    new._modules = {k: None if v is None else _copy(v, phi) for k, v in physics._modules.items()}
    return new
