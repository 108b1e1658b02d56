"""Networks of diffusers in the shape the priors expect: float32 outside, any precision inside."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.schedule import Schedule

FLOOR = 2.0**-24
"""Least abar of a schedule with zero terminal signal-to-noise ratio: keeps 1 / sqrt(abar) finite, as in diffusers' samplers."""

Recover = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def from_epsilon(z_t: Tensor, out: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """E[z_0 | z_t] of a network that predicts the noise: (z_t - sqrt(1 - abar) out) / sqrt(abar)."""
    return (z_t - noise * out) / signal


def from_velocity(z_t: Tensor, out: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """E[z_0 | z_t] of a network that predicts v (Salimans & Ho, 2022): sqrt(abar) z_t - sqrt(1 - abar) out."""
    return signal * z_t - noise * out


def from_sample(z_t: Tensor, out: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """E[z_0 | z_t] of a network that predicts it."""
    return out


PREDICTIONS: dict[str, Recover] = {"epsilon": from_epsilon, "v_prediction": from_velocity, "sample": from_sample}
"""diffusers' names of what a network predicts."""


def schedule_of(scheduler: Any) -> Schedule:
    """The noise schedule of a diffusers scheduler, in float64, with its value at the clean end.

    `set_alpha_to_one=False` makes that value abar_0; betas rescaled to zero terminal signal-to-noise ratio end at
    `FLOOR` rather than 0.

    Args:
        scheduler: of the DDPM family (DDPM, DDIM, PNDM, Euler, DPM-Solver, ...), fresh from its config.

    Raises:
        ValueError: the scheduler has no variances beta_t (flow matching, score SDE, consistency models).
    """
    betas = getattr(scheduler, "betas", None)
    if betas is None or not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{type(scheduler).__name__} has no beta schedule; a scheduler of the DDPM family (DDPM, DDIM, ...) is needed"
        )
    abar = Schedule.from_betas(torch.as_tensor(betas).cpu()).abar.clamp(min=0)
    abar = torch.where(abar < 1e-12, FLOOR, abar)
    to_one = float(getattr(scheduler, "final_alpha_cumprod", 1.0)) == 1.0
    return Schedule(abar, 1.0 if to_one else float(abar[0]))


def frozen(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network in evaluation mode, without gradients of its weights, channels last."""
    # Module.to, because the networks' own `to` warns of parts to keep in float32 even where there are none.
    return nn.Module.to(net.requires_grad_(False).eval(), dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


def precision(net: nn.Module) -> torch.dtype:
    """dtype of the first floating parameter."""
    return next(p.dtype for p in net.parameters() if p.is_floating_point())


class KLAutoencoder(nn.Module):
    """diffusers' AutoencoderKL; the encoding is the mode of its posterior, so it is deterministic.

    Args:
        net: AutoencoderKL.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> (B, C, H/f, W/f), before shift and scale."""
        return self.net.encode(x.to(precision(self.net))).latent_dist.mode().to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, h, w) -> images, about [-1, 1]."""
        return self.net.decode(z.to(precision(self.net))).sample.to(z.dtype)


class VQAutoencoder(nn.Module):
    """diffusers' VQModel, as latent diffusion models use it (Rombach et al., 2022): quantisation belongs to the decoder.

    `encode` gives the continuous latents, on which the diffusion model was trained. `decode` always quantises them
    first: the decoder has only seen code vectors, so this is D* of the LatentDEM and PSLD papers, in the guidance as in
    the final image. diffusers' quantiser passes gradients straight through (d quantise(z) / dz = identity), so the
    guidance reaches z_t. The search for the nearest code runs in float32 whatever the precision of the network.

    Args:
        net: VQModel.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.net.quantize.float()

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> (B, C, H/f, W/f), not quantised, before scale."""
        return self.net.encode(x.to(precision(self.net))).latents.to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, h, w) -> images, about [-1, 1], of the nearest code vectors."""
        codes = self.net.quantize(z.float())[0]
        return self.net.decode(codes.to(precision(self.net)), force_not_quantize=True).sample.to(z.dtype)


class UNetDenoiser(nn.Module):
    """E[z_0 | z_t] from a UNet2DModel or UNet2DConditionModel.

    The network runs in its own precision; the formula runs in that of z_t. Where a UNet2DModel needs height and width
    to be multiples of some number, z_t is continued periodically (which keeps its noise white) and cut again.

    Args:
        unet: the network; called as unet(z_t, t) or unet(z_t, t, text), its first C output channels count.
        schedule: its noise schedule.
        recover: E[z_0 | z_t] from z_t, the output, sqrt(abar) and sqrt(1 - abar): one of `PREDICTIONS`.
        text: (1, tokens, D) embedding of the prompt, for a network that takes one.
        multiple: height and width of z_t are brought to a multiple of this.
        limit: E[z_0 | z_t] is clamped to +-limit, for data that are known to be so (pixels).
    """

    signal: Tensor
    noise: Tensor
    text: Tensor | None

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        recover: Recover,
        text: Tensor | None = None,
        multiple: int = 1,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.recover, self.multiple, self.limit = unet, recover, multiple, limit
        self.register_buffer("signal", schedule.abar.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - schedule.abar).sqrt().float(), persistent=False)
        self.register_buffer("text", text, persistent=False)

    def predict(self, z_t: Tensor, t: Tensor) -> Tensor:
        """What the network itself predicts, (B, C, h, w), in the precision of z_t."""
        h, w = z_t.shape[-2:]
        pad = (0, -w % self.multiple, 0, -h % self.multiple)
        z = F.pad(z_t, pad, mode="circular") if any(pad) else z_t
        z = z.to(precision(self.unet)).contiguous(memory_format=torch.channels_last)
        out = self.unet(z, t) if self.text is None else self.unet(z, t, self.text.to(z.dtype).expand(len(z), -1, -1))
        return out.sample[:, : z_t.shape[1], :h, :w].to(z_t.dtype)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """E[z_0 | z_t], (B, C, h, w); t is (B,), integer."""
        signal, noise = (a[t].to(z_t.dtype).view(-1, 1, 1, 1) for a in (self.signal, self.noise))
        z0 = self.recover(z_t, self.predict(z_t, t), signal, noise)
        return z0 if self.limit is None else z0.clamp(-self.limit, self.limit)
