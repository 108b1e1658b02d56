"""LPIPS with a backbone from a local file: its heads come with torchmetrics, its backbone is a download left to the user."""

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
VGG_ONLY, ALEX_LAST = "28.weight", "10.weight"


def load_lpips(path: Path) -> Distance:
    """Learned perceptual image patch similarity (Zhang et al. 2018): two (B, 3, H, W) in [0, 1] -> (B,), 0 for equal ones.

    Args:
        path: torchvision's AlexNet or VGG-16, its state dictionary as safetensors or as torch.save writes it.

    Raises:
        ValueError: the file is neither.
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    features = {k.removeprefix("features."): v for k, v in _tensors(path).items() if k.startswith("features.")}
    if ALEX_LAST not in features:
        raise ValueError(f"{path} is not the state dictionary of torchvision's alexnet or vgg16")
    net = _LPIPS(net="vgg" if VGG_ONLY in features else "alex", pnet_rand=True)
    try:
        for stage in (net.net.slice1, net.net.slice2, net.net.slice3, net.net.slice4, net.net.slice5):
            for index, layer in stage.named_children():
                layer.load_state_dict({k: features[f"{index}.{k}"] for k in layer.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is not the state dictionary of torchvision's alexnet or vgg16") from error

    @torch.no_grad()
    def distance(x: Tensor, truth: Tensor) -> Tensor:
        return net(x.clamp(0, 1).float(), truth.clamp(0, 1).float(), normalize=True).flatten()

    return distance


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read as safetensors") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as weights alone") from error
