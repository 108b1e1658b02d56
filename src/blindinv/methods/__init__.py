"""Methods: small compositions of prior, operator, unknown, guidance and M-step, one file each.

A file in this folder or in `baselines` that has a dictionary `METHODS` adds its methods to `blindinv deblur --method`,
to `blindinv methods` and to the rows of the tables; nothing else needs to know of it.
"""

import pkgutil
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blindinv.methods.method import Method

FIRST = "latentdem"


@lru_cache(maxsize=1)
def methods() -> "Mapping[str, Method]":
    """All methods by name, the default one first."""
    from blindinv import baselines

    found: dict[str, Method] = {}
    for name, path in ((__name__, __path__), (baselines.__name__, baselines.__path__)):
        for module in pkgutil.iter_modules(path):
            found |= getattr(import_module(f"{name}.{module.name}"), "METHODS", {})
    return MappingProxyType({FIRST: found.pop(FIRST)} | dict(sorted(found.items())))
