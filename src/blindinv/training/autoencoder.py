"""Recipe of the autoencoder: sharp reconstructions from latents that carry noise."""

import torch
from torch import Tensor, nn

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.training.data import crop_batch

LATENT_NOISE = 0.1
GRADIENT_WEIGHT = 0.5
LATENT_PENALTY = 1e-4


class AutoencoderLoss:
    """L1 of pixels and of their gradients, decoded from z + 0.1 std(z) noise; a small penalty keeps z near unit scale.

    The noise makes the decoder smooth in z, which guidance through the decoder needs, and spreads what the
    latents say over their whole range without a KL term.
    """

    def __init__(self, photos: list[Tensor], batch: int = 8, size: int = 128, device: str = "cpu") -> None:
        self.photos, self.batch, self.size, self.device = photos, batch, size, device

    def __call__(self, model: PatchAutoencoder, generator: torch.Generator) -> Tensor:
        x = crop_batch(self.photos, self.batch, self.size, generator)
        x = x.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16):
            z = model.encode(x)
            std = z.detach().float().std((0, 2, 3), keepdim=True)
            noise = torch.randn(z.shape, generator=generator).to(z.device)
            error = model.decode(z + LATENT_NOISE * std * noise).float() - x
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return error.abs().mean() + GRADIENT_WEIGHT * edges + LATENT_PENALTY * z.float().square().mean()


class AutoencoderScores:
    """PSNR in dB of the round trip of validation photos, clean and with 0.1 std of noise on the latents."""

    def __init__(self, photos: Tensor) -> None:
        self.photos = photos

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        errors = {"psnr": [], "psnr_noisy": []}
        generator = torch.Generator().manual_seed(0)
        for x in self.photos.split(8):
            z = model.encode(x.contiguous(memory_format=torch.channels_last))
            noise = torch.randn(z.shape, generator=generator) * z.std((0, 2, 3), keepdim=True)
            for name, code in (("psnr", z), ("psnr_noisy", z + LATENT_NOISE * noise)):
                mse = ((model.decode(code).clamp(-1, 1) - x) / 2).square().mean((1, 2, 3))
                errors[name] += (-10 * mse.log10()).tolist()
        return {name: sum(values) / len(values) for name, values in errors.items()}
