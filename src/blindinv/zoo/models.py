"""The networks that a method needs, loaded."""

from dataclasses import replace
from os import PathLike
from typing import Any

import torch

from blindinv.methods.method import Models, Needy
from blindinv.priors.gaussian_tilt import GaussianTilt

Name = str | PathLike[str] | None


def load_models(
    method: Needy,
    *,
    prior: Name = None,
    kernel_prior: Name = None,
    restorer: Name = None,
    tilt_prior: Name = None,
    strength: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Models:
    """What a method needs, by name or path; None is the shipped one.

    Args:
        method: decides what is loaded.
        prior: of images, see `load_prior`; None: the method's own.
        kernel_prior: see `load_kernel_prior`.
        restorer: see `load_restorer`.
        tilt_prior: see `load_tilt_prior`; or "gaussian", the exact Gaussian one of the strength, without a network.
        strength: of the turbulence.
        device: of the networks.
        dtype: that the diffusion models compute in, see `load_prior`.

    Raises:
        ValueError, OSError, ImportError: as the loaders do, or a network is named that the method does not take.
    """
    named = {"prior": prior, "kernel_prior": kernel_prior, "restorer": restorer, "tilt_prior": tilt_prior}
    for name, value in named.items():
        if value is not None and name not in method.needs and name != "prior":
            raise ValueError(f"this method takes no {name.replace('_', ' ')}")
    return Models(**{name: _load(name, named.get(name), method, device, strength, dtype) for name in method.needs})


def completed(method: Needy, models: Models, device: torch.device | str) -> Models:
    """The same models, with shipped ones where the method needs what is None."""
    missing = [name for name in method.needs if getattr(models, name) is None]
    return replace(models, **{name: _load(name, None, method, device) for name in missing})


def _load(
    name: str,
    which: Name,
    method: Needy,
    device: torch.device | str,
    strength: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Any:
    from blindinv.zoo import load_kernel_denoiser, load_kernel_prior, load_kernel_refiner, load_prior, load_tilt_prior

    if name == "prior":
        return load_prior(which or method.own_prior, device=device, dtype=dtype)
    if name == "denoiser":
        return load_kernel_denoiser(dtype=dtype).to(device)
    if name == "refiner":
        return load_kernel_refiner(device=device)
    if name == "kernel_prior":
        return load_kernel_prior(which or "kernels64", device=device, dtype=dtype)
    if name == "tilt_prior":
        return GaussianTilt(strength) if which == "gaussian" else load_tilt_prior(which or "tilt", device=device, dtype=dtype)
    if name == "restorer":
        from blindinv.baselines.restorer import load_restorer

        return load_restorer(which).to(device)
    raise ValueError(f"methods need prior, denoiser, refiner, kernel_prior, restorer or tilt_prior, not {name!r}")
