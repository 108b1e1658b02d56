"""The convolutional UNet of the shipped priors: diffusers' UNet2DModel without attention, so that it runs at any size."""

from typing import Any

from diffusers import UNet2DModel
from torch import nn

from blindinv.priors.patches import Patches


def convolutional_unet(in_channels: int, out_channels: int, channels: tuple[int, ...], layers: int = 1) -> nn.Module:
    """A UNet2DModel whose last convolution starts at zero; H and W must be multiples of 2 ** (len(channels) - 1)."""
    net: Any = UNet2DModel(
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        add_attention=False,
        norm_num_groups=16,
    )
    net.conv_out.weight.data.zero_()
    net.conv_out.bias.data.zero_()
    return net


def patch_unet(in_channels: int, out_channels: int, channels: tuple[int, ...], factor: int, layers: int = 1) -> Patches:
    """A `convolutional_unet` of factor x factor patches, at full size and at any: what does not fit is filled up."""
    p = factor**2
    net = convolutional_unet(p * in_channels, p * out_channels, channels, layers)
    return Patches(net, factor, 2 ** (len(channels) - 1))
