"""Recipe of the diffusion prior of tilt maps: a small UNet on top of a Wiener filter, maps made on the fly."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindinv.kernels.tilt import tilt_maps
from blindinv.priors.tilt import SCALE
from blindinv.priors.wiener import WienerDenoiser
from blindinv.schedule import Schedule
from blindinv.training.prior import PriorLoss, check_sizes, fit_gaussian
from blindinv.zoo.shipped import TILT_PRIOR
from blindinv.zoo.unet import patch_unet

FACTOR = 2
FIT_MAPS = 2000


class TiltCrops:
    """Simulated tilt maps in units of their standard deviation."""

    def crops(self, batch: int, size: int, generator: torch.Generator) -> Tensor:
        """(batch, 2, size, size)."""
        return tilt_maps(batch, (size, size), generator) / SCALE


def validation_states(count: int = 32, size: int = 128) -> Tensor:
    """Maps that are not trained on, in units of z."""
    return TiltCrops().crops(count, size, torch.Generator().manual_seed(2**40))


@dataclass(frozen=True)
class TiltPriorRecipe:
    """What is trained on what, by default.

    Args:
        channels: of the UNet at each resolution, multiples of 16; the first is at half of the map's.
        batch: maps per step.
        crop: their size in pixels.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    channels: tuple[int, ...] = (32, 64, 64)
    batch: int = 16
    crop: int = 64
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def __post_init__(self) -> None:
        check_sizes(self.channels, self.crop // FACTOR)

    def config(self) -> dict[str, Any]:
        """What `build_tilt_prior` needs besides the tensors."""
        return {"kind": TILT_PRIOR, "scale": SCALE, "unet": {"channels": list(self.channels), "factor": FACTOR}}

    def setup(self) -> tuple[WienerDenoiser, PriorLoss]:
        """The denoiser, a Wiener filter at first, and its loss."""
        torch.manual_seed(self.seed)
        network: Any = patch_unet(4, 2, self.channels, FACTOR)
        model = WienerDenoiser(network, 2, Schedule.linear().abar)
        fit_gaussian(model, TiltCrops(), FIT_MAPS)
        network.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()
        return model.to(self.device), PriorLoss(TiltCrops(), self.batch, self.crop, self.device)
