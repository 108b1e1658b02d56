"""Restoring pictures taken through turbulent air, in one call: what `blindinv turbulence` uses."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindinv.deblur import Record
from blindinv.methods.method import Models
from blindinv.methods.turbulence import TURBULENCE, TurbulenceMethod
from blindinv.operators.noise import level
from blindinv.photo.noise import noise_level
from blindinv.problem import Deblurring, run
from blindinv.tiled import whole_or_tiles


@dataclass(frozen=True)
class TurbulenceResult:
    """What `restore` returns.

    Attributes:
        image: (B, 3, H, W) in [0, 1].
        kernel: (B, 1, n, n), non-negative, sum 1.
        tilt: (B, 2, H, W) in pixels: pixel p of the observation shows, before the blur, the image at p + tilt(p);
            channel 0 along the columns (to the right), channel 1 along the rows (down).
        sigma: (B, 1, 1, 1) noise level that was used, on [0, 1].
        history: what the caller's `record` returned at each step.
    """

    image: Tensor
    kernel: Tensor
    tilt: Tensor
    sigma: Tensor
    history: list[Any]


def find_turbulence_method(name: str) -> TurbulenceMethod:
    """The method of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in TURBULENCE:
        raise ValueError(f"there is no method '{name}' for turbulence; give one of {', '.join(TURBULENCE)}")
    return TURBULENCE[name]


def restore(
    y: Tensor,
    *,
    method: str | TurbulenceMethod = "default",
    prior: Any = None,
    kernel_prior: Any = None,
    tilt_prior: Any = None,
    kernel_size: int = 64,
    sigma: float | Tensor | None = None,
    photons: float | None = None,
    circular: bool | None = None,
    kernel: Tensor | None = None,
    strength: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
    record: Record | None = None,
) -> TurbulenceResult:
    """Recover images, blur kernels and tilt fields from y = k * T_tau(x) + n.

    Images above 640 x 640 pixels are treated in tiles of 512 that share one kernel and have tilts of their own.

    Args:
        y: (B, 3, H, W) in [0, 1], B different images.
        method: "default" or "blinddps", or such an object.
        prior: as `load_prior` gives; None: the method's own.
        kernel_prior: as `load_kernel_prior` gives.
        tilt_prior: as `load_tilt_prior` gives, or a `GaussianTilt`.
        kernel_size: side of the kernel, 9 to 129 pixels; larger than the blur.
        sigma: level of Gaussian noise on [0, 1]; None: estimated, or none at all beside the photons' noise.
        photons: Poisson noise, with so many photons at white; None: no such noise.
        circular: periodic borders; None: detected.
        kernel: (1 or B, 1, n, n) if it is known.
        strength: of the turbulence: the tilts are about 0.4 strength pixels on each axis; 0: no tilt, a blur only.
        steps: of the reverse diffusion; None: the method's own.
        seed: of all random numbers.
        record: called after every step, see `run`.

    Raises:
        ValueError: what cannot be restored, or an unknown method, with the reason.
    """
    from blindinv.zoo.models import completed

    method = find_turbulence_method(method) if isinstance(method, str) else method
    if not 0 <= strength < float("inf"):
        raise ValueError(f"the strength of turbulence must be a finite number and not negative, got {strength}")
    problem = Deblurring.of(y, noise_level(y, sigma, photons), kernel_size, circular, kernel, seed, photons=photons)
    models = completed(method, Models(prior, kernel_prior=kernel_prior, tilt_prior=tilt_prior), y.device)

    history: list[Any] = []

    def find(part: Deblurring) -> tuple[Tensor, Tensor]:
        found = run(part, method(part, models, strength, steps), record)
        history.extend(found.history)
        phi: Any = found.kernel
        return torch.cat([found.image, part.frame(phi["tilt"])], 1), phi["kernel"]

    both, found_kernel = whole_or_tiles(problem, find)
    return TurbulenceResult(both[:, :3].clamp(0, 1), found_kernel, both[:, 3:], level(problem.sigma), history)
