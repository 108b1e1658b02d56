"""Any linear forward model of `deepinv.physics` as an operator of ours."""

import copy
from dataclasses import dataclass
from typing import Any

from deepinv.physics import LinearPhysics
from torch import Tensor


@dataclass(frozen=True)
class DeepinvOperator:
    """y = A(x, phi), where phi is one named parameter of a `deepinv.physics.LinearPhysics`; without its noise.

    Physics store the parameters that a call brings. Here every call works on a shallow copy, so that `physics` is never
    changed and phi stays an argument. Gradients flow to x and to phi; device and dtype are those of phi.

    With `BlurFFT` and with `Blur(padding="circular")` and `name="filter"` this is `CircularConvolution`: deepinv
    convolves (does not correlate), and its filters have their origin at index n // 2 too, also for even n. `BlurFFT`
    works at the image size, and with the number of channels, that it was made for. With `Blur(padding="valid")` y is
    smaller than x, as its own convention has it: pixel (0, 0) of y is pixel (n - 1 - n // 2, same) of x.

    Args:
        physics: a linear physics, for instance `BlurFFT((3, H, W))`.
        name: of the parameter, for instance "filter".

    Raises:
        ValueError: the physics has no parameter of that name (deepinv would ignore it).
    """

    physics: LinearPhysics
    name: str

    def __post_init__(self) -> None:
        if not hasattr(self.physics, self.name):
            raise ValueError(f"{type(self.physics).__name__} has no parameter {self.name!r}")

    def __call__(self, x: Tensor, phi: Tensor) -> Tensor:
        """A(x, phi)."""
        return _copy(self.physics, phi).A(x, **{self.name: phi})

    def frame(self, x: Tensor, frame: tuple[int, int]) -> Tensor:
        """What the observation shows of A(x, phi): all of it."""
        return x

    def adjoint(self, y: Tensor, phi: Tensor) -> Tensor:
        """A^T y."""
        return _copy(self.physics, phi).A_adjoint(y, **{self.name: phi})


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
