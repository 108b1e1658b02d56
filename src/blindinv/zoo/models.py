"""The networks that a method needs, loaded."""

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from typing import Any

import torch

from blindinv.methods.method import Method, Models


def load_models(
    method: Method,
    *,
    prior: str | PathLike[str] | None = None,
    kernel_prior: str | PathLike[str] | None = None,
    restorer: str | PathLike[str] | None = None,
    device: torch.device | str = "cpu",
) -> Models:
    """What a method needs, by name or path; None is the shipped one.

    Args:
        method: decides what is loaded.
        prior: of images, see `load_prior`; None: the method's own.
        kernel_prior: see `load_kernel_prior`.
        restorer: see `load_restorer`.
        device: of the networks.

    Raises:
        ValueError, OSError, ImportError: as the loaders do, or a network is named that the method does not take.
    """
    named = {"prior": prior, "kernel_prior": kernel_prior, "restorer": restorer}
    for name, value in named.items():
        if value is not None and name not in method.needs and name != "prior":
            raise ValueError(f"this method takes no {name.replace('_', ' ')}")
    loaded = {name: _loader(name, named.get(name), method)(device) for name in method.needs}
    return Models(**loaded)


def completed(method: Method, models: Models, device: torch.device | str) -> Models:
    """The same models, with shipped ones where the method needs what is None."""
    missing = [name for name in method.needs if getattr(models, name) is None]
    return replace(models, **{name: _loader(name, None, method)(device) for name in missing})


def _loader(name: str, which: str | PathLike[str] | None, method: Method) -> Callable[[torch.device | str], Any]:
    from blindinv.zoo import load_kernel_denoiser, load_prior

    if name == "prior":
        return lambda device: load_prior(which or method.own_prior, device=device)
    if name == "denoiser":
        return lambda device: load_kernel_denoiser().to(device)
    if name == "kernel_prior":
        from blindinv.zoo.load import load_kernel_prior

        return lambda device: load_kernel_prior(which or "kernels64", device=device)
    if name == "restorer":
        from blindinv.baselines.restorer import load_restorer

        return lambda device: load_restorer(which).to(device)
    raise ValueError(f"methods need prior, denoiser, kernel_prior or restorer, not {name!r}")
