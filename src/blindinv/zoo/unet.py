"""The convolutional UNet of the shipped priors: diffusers' UNet2DModel without attention, so that it runs at any size."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import nn

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.lifted import Lift, LiftedViews
from blindinv.priors.patches import Patches
from blindinv.schedule import Schedule


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


def lifted_views(
    autoencoder: PatchAutoencoder,
    size: int = 64,
    encoder: Sequence[int] = (48, 80, 112, 128),
    channels: Sequence[int] = (80, 128, 160),
    features: int = 48,
    seen: int = 24,
    code: int = 40,
    samples: int = 16,
) -> LiftedViews:
    """A view prior that is still to be trained.

    Args:
        autoencoder: of pictures.
        size: side of the pictures, pixels.
        encoder: channels of the UNet that looks at the input picture at half its resolution.
        channels: of the denoiser, at a quarter of the resolution.
        features: of the input picture, for each pixel.
        seen: channels of what the wanted camera sees.
        code: of them, what the denoiser gets.
        samples: points on each ray.
    """
    latents = autoencoder.config["latent_channels"]
    look: Any = convolutional_unet(12, features, tuple(encoder))
    nn.init.normal_(look.conv_out.weight, std=0.05)
    unet = convolutional_unet(2 * latents + code, latents, tuple(channels))
    model = LiftedViews(autoencoder, look, Lift(features, seen, 64, samples), unet, Schedule.scaled_linear(), size, code)
    for net in (model.autoencoder, model.encoder, model.unet):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
