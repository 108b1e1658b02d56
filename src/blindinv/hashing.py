"""What identifies weights in records, reports and caches."""

import hashlib

import torch
from torch import nn


def tensor_hash(model: nn.Module) -> str:
    """SHA-256 of the names and bytes of a network's tensors, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
