"""A small fully convolutional autoencoder of photos, with linear skips that start as a principal component analysis."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.conv2.weight, std=0.01)
        nn.init.zeros_(self.conv2.get_parameter("bias"))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(F.silu(self.conv1(F.silu(h))))


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*[_Residual(channels) for _ in range(depth)])


class PatchAutoencoder(nn.Module):
    """x -> z at a quarter of the resolution and back: a linear map of 4x4 patches plus a convolutional correction.

    The linear part (two 1x1 convolutions around a pixel unshuffle) starts as the whitened principal components
    of photo patches (`init_pca`), and the convolutional part starts at zero: training begins at the best linear code.

    Args:
        latent_channels: channels of z.
        width: channels of the convolutional part at 1/2 and at 1/4 of the resolution.
        depth: residual blocks of the encoder at those two resolutions; the decoder has one more of each.
    """

    factor = 4

    def __init__(self, latent_channels: int = 8, width: tuple[int, int] = (48, 96), depth: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        (c1, c2), (n1, n2), p = width, depth, 3 * self.factor**2
        self.config: dict[str, Any] = dict(latent_channels=latent_channels, width=list(width), depth=list(depth))
        self.linear_encoder = nn.Conv2d(p, latent_channels, 1)
        self.linear_decoder = nn.Conv2d(latent_channels, p, 1)
        self.encoder_in = nn.Conv2d(12, c1, 3, padding=1)
        self.encoder_half = _blocks(c1, n1)
        self.encoder_down = nn.Conv2d(4 * c1, c2, 1)
        self.encoder_quarter = _blocks(c2, n2)
        self.encoder_out = nn.Conv2d(c2, latent_channels, 1)
        self.decoder_in = nn.Conv2d(latent_channels, c2, 3, padding=1)
        self.decoder_quarter = _blocks(c2, n2 + 1)
        self.decoder_up = nn.Conv2d(c2, 4 * c1, 1)
        self.decoder_half = _blocks(c1, n1 + 1)
        self.decoder_out = nn.Conv2d(c1, 12, 3, padding=1)
        for last in (self.encoder_out, self.decoder_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.get_parameter("bias"))

    @torch.no_grad()
    def init_pca(self, x: Tensor) -> None:
        """Set the linear part to the whitened principal components of the patches of `x`, (N, 3, H, W) in [-1, 1]."""
        patches = F.pixel_unshuffle(x, self.factor).permute(0, 2, 3, 1).reshape(-1, 3 * self.factor**2).double()
        mean, n = patches.mean(0), self.linear_decoder.in_channels
        power, axes = torch.linalg.eigh(torch.cov(patches.T))
        std, axes = power.flip(0)[:n].sqrt(), axes.flip(1)[:, :n]
        self.linear_encoder.weight.copy_((axes / std).T[..., None, None])
        self.linear_encoder.get_parameter("bias").copy_(-(mean @ axes) / std)
        self.linear_decoder.weight.copy_((axes * std)[..., None, None])
        self.linear_decoder.get_parameter("bias").copy_(mean)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], H and W multiples of 4 -> (B, latent_channels, H/4, W/4)."""
        h = self.encoder_half(self.encoder_in(F.pixel_unshuffle(x, 2)))
        h = self.encoder_quarter(self.encoder_down(F.pixel_unshuffle(h, 2)))
        with torch.autocast(x.device.type, enabled=False):
            linear = self.linear_encoder(F.pixel_unshuffle(x.float(), self.factor))
        return self.encoder_out(F.silu(h)) + linear

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent_channels, h, w) -> (B, 3, 4h, 4w), about [-1, 1] (not clipped)."""
        h = F.pixel_shuffle(self.decoder_up(self.decoder_quarter(self.decoder_in(z))), 2)
        h = F.pixel_shuffle(self.decoder_out(F.silu(self.decoder_half(h))), 2)
        with torch.autocast(z.device.type, enabled=False):
            linear = F.pixel_shuffle(self.linear_decoder(z.float()), self.factor)
        return h + linear
