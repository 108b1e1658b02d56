"""In which precision networks compute."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch


def quick_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where a device computes in it about twice as fast as in float32 or better, else float32.

    That is CPUs with matrix units (Intel AMX) and CUDA devices from compute capability 8.0.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    matrix_units = getattr(torch.cpu, "_is_amx_tile_supported", bool)  # older versions of PyTorch cannot tell
    return torch.bfloat16 if device.type == "cpu" and matrix_units() else torch.float32


def computing(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """What a network runs in: its products are in `dtype` (None: in `quick_dtype`), its weights stay as they are.

    With float32 nothing changes.
    """
    dtype = quick_dtype(device) if dtype is None else dtype
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def precisions(networks: Mapping[str, object], device: torch.device | str) -> dict[str, str]:
    """In what each network that has a choice computes, by name, such as {"prior": "bfloat16"}; for the record."""
    chosen = {name: net.dtype or quick_dtype(device) for name, net in networks.items() if hasattr(net, "dtype")}
    return {name: dtype_name(dtype) for name, dtype in chosen.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")
