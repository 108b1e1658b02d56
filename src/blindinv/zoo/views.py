"""View priors by name: the shipped one, weights of `blindinv train views`, and Zero123 in all its layouts."""

from os import PathLike
from pathlib import Path

import torch

from blindinv.priors.view import ViewPrior
from blindinv.zoo.shipped import VIEW_PRIOR, WEIGHTS, build_view_prior, is_ours, read_kind

SHIPPED_VIEWS = ("objects",)


def load_view_prior(
    name: str | PathLike[str] = "objects",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    stable: bool | None = None,
    local_only: bool = False,
) -> ViewPrior:
    """A view prior.

    Args:
        name: "objects", which is shipped; a weights file of `blindinv train views`; or a folder, an original checkpoint or a hub
            id of Zero123 (see `load_zero123`). Only a hub id uses the network.
        device: of the networks.
        dtype: that the networks compute in; None: float32 for Zero123, for others as in `load_prior`.
        stable: as in `load_zero123`.
        local_only: take a hub id from the cache of earlier downloads, without the network.

    Raises:
        ValueError: neither, or files that are not a view prior.
        OSError: a hub id that cannot be fetched.
        ImportError: Zero123 needs transformers (`pip install 'blindinv[sd]'`).
    """
    from blindinv.zoo.zero123 import load_zero123

    path = WEIGHTS / f"{name}.safetensors" if str(name) in SHIPPED_VIEWS else Path(name).expanduser()
    if path.is_file() and is_ours(path):
        prior = build_view_prior(*read_kind(path, VIEW_PRIOR)).to(device)
        prior.dtype = dtype
        return prior
    kind = dtype or torch.float32
    return load_zero123(path if path.exists() else name, device=device, dtype=kind, stable=stable, local_only=local_only)
