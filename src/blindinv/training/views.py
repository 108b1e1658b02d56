"""Recipe of the view prior: pictures of one object from two places, the second to be told from the first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.lifted import LiftedViews
from blindinv.training.autoencoder import round_trip
from blindinv.training.export import averaged, load_autoencoder
from blindinv.training.levels import stratified
from blindinv.training.prior import check_channels
from blindinv.training.view_data import Shards
from blindinv.zoo.shipped import VIEW_PRIOR, build_view_prior, load_shipped, write_weights
from blindinv.zoo.unet import lifted_views

DROPPED = 0.05
"""Share of the targets that are told without a condition, for classifier-free guidance."""
LEVELS = (100, 300, 500, 700, 900)


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures of B objects: one to start from and m wanted ones each, in [0, 1] on white.

    Args:
        image: (B, 3, S, S).
        polar: (B,) of its camera, radians.
        wanted: (B, m, 3, S, S).
        covered: (B, m, 1, S, S), how much of each pixel is the object.
        pose: (B, m, 3) of their cameras relative to that of the first.
    """

    image: Tensor
    polar: Tensor
    wanted: Tensor
    covered: Tensor
    pose: Tensor

    @classmethod
    def of(cls, shards: Shards, objects: Tensor, order: Tensor) -> "Views":
        """Pictures `order` (B, 1 + m) of objects (B,); the first of them is the one to start from."""
        return cls._first_and_others(*shards.views_of(objects, order))

    @classmethod
    def _first_and_others(cls, pictures: Tensor, pose: Tensor) -> "Views":
        """Of pictures (B, 1 + m, 4, S, S) and poses (B, 1 + m, 3)."""
        wanted = pictures[:, 1:]
        return cls(pictures[:, 0, :3], pose[:, 0, 0], wanted[:, :, :3], wanted[:, :, 3:], pose[:, 1:] - pose[:, :1])

    @classmethod
    def random(cls, shards: Shards, batch: int, targets: int, generator: torch.Generator) -> "Views":
        """Random objects, and 1 + `targets` different pictures of each."""
        return cls._first_and_others(*shards.draw(batch, 1 + targets, generator))

    def to(self, device: str) -> "Views":
        """The same on a device."""
        return Views(*(v.to(device) for v in (self.image, self.polar, self.wanted, self.covered, self.pose)))


class ViewLoss:
    """The error of the denoiser in units of c_t, that of the first guess, and those of colour and coverage of the rays.

    All timesteps weigh the same: what an object looks like from elsewhere is decided at high noise.

    Args:
        shards: pictures.
        batch: objects per step.
        targets: wanted views of each.
        device: to train on.
    """

    def __init__(self, shards: Shards, batch: int, targets: int, device: str = "cpu") -> None:
        self.shards, self.batch, self.targets, self.device = shards, batch, targets, device

    def __call__(self, model: LiftedViews, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        v = Views.random(self.shards, self.batch, self.targets, generator).to(self.device)
        n = self.batch * self.targets
        wanted, pose, polar = v.wanted.flatten(0, 1), v.pose.flatten(0, 1), v.polar.repeat_interleave(self.targets)
        t = stratified(n, len(model.schedule), generator)[torch.randperm(n, generator=generator)].to(self.device)
        known = (torch.rand(n, 1, 1, 1, generator=generator) >= DROPPED).float().to(self.device)
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            z = model.encode(wanted.contiguous(memory_format=torch.channels_last)).float()
        noise = torch.randn(z.shape, generator=generator).to(z)
        a = model.schedule.abar.to(z)[t].view(-1, 1, 1, 1)
        with torch.autocast(self.device, torch.bfloat16):
            features = model.features(2 * v.image - 1).repeat_interleave(self.targets, 0)
            seen, colour, covered = model.look(features.float(), polar, pose)
            b, code = model.guess(seen)
            spread = known * model.spread + 1 - known
            w, c, f = model.correction(a.sqrt() * z + (1 - a).sqrt() * noise, t, known * b, known * code, spread)
        denoised = (f - ((z - w) / c).clamp(-8, 8)).square().mean()
        guess = (b - z).square().mean((0, 2, 3))
        model.spread.lerp_(guess.detach().sqrt().view(-1, 1, 1), 0.01)
        small = [F.interpolate(x, colour.shape[-2:], mode="area") for x in (2 * wanted - 1, v.covered.flatten(0, 1))]
        rays = (colour - small[0]).square().mean() + (covered - small[1]).square().mean()
        return denoised + guess.mean() + rays


class ViewScores:
    """Errors on views of objects that were not trained on: does the prior see, and does it use the pose?

    `guess` and `error_t`: mean squared error of the first guess b, and of z_0 denoised at timestep t (on latents of variance 1);
    `guess_wrong`, `error_t_wrong`: the same where each view is told with the pose of another one.
    """

    def __init__(self, shards: Shards, objects: int = 32, targets: int = 4) -> None:
        order = torch.arange(targets + 1).expand(min(objects, len(shards)), -1)
        self.v = Views.of(shards, torch.arange(len(order)), order)

    @torch.no_grad()
    def __call__(self, model: LiftedViews) -> dict[str, float]:
        """The figures."""
        v = self.v.to(str(model.spread.device))
        z = model.encode(v.wanted.flatten(0, 1))
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z)
        cond = model.condition(v.image, v.polar).repeated(v.wanted.shape[1])
        out = {}
        for name, pose in (("", v.pose), ("_wrong", v.pose.roll(1, 1))):
            b, _ = model.guess(model.look(cond.features["features"], cond.polar, pose.flatten(0, 1))[0])
            out[f"guess{name}"] = float((b - z).square().mean())
            for t in LEVELS:
                a = model.schedule.at(t)
                eps = model.eps(a**0.5 * z + (1 - a) ** 0.5 * noise, t, cond, pose.flatten(0, 1))
                out[f"error_{t}{name}"] = float((eps - noise).square().mean() * (1 - a) / a)
        return out


class RoundTrip:
    """The loss of the autoencoder on pictures of the shards."""

    def __init__(self, shards: Shards, batch: int, device: str = "cpu") -> None:
        self.shards, self.batch, self.device = shards, batch, device

    def __call__(self, model: PatchAutoencoder, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        v = Views.random(self.shards, self.batch, 1, generator).to(self.device)
        return round_trip(model, 2 * torch.cat([v.image, v.wanted[:, 0]]) - 1, generator)


@dataclass(frozen=True)
class ViewAutoencoderRecipe:
    """The autoencoder of the shipped photos, trained on on pictures of objects.

    Args:
        folder: of the shards.
        batch: pairs of pictures per step.
        device: to train on.
    """

    folder: Path
    batch: int = 16
    device: str = "cpu"

    def setup(self) -> tuple[PatchAutoencoder, RoundTrip]:
        """The autoencoder and its loss."""
        shipped: Any = load_shipped("photos")
        model = PatchAutoencoder(**shipped.autoencoder.config)
        model.load_state_dict(shipped.autoencoder.state_dict())
        model = model.to(self.device).to(memory_format=torch.channels_last)
        return model, RoundTrip(Shards.open(self.folder), self.batch, self.device)


@dataclass(frozen=True)
class ViewPriorRecipe:
    """What is trained on what, by default.

    Args:
        folder: of the shards.
        autoencoder: checkpoint.
        encoder: channels of the UNet that looks at the input picture, multiples of 16.
        channels: of the denoiser, multiples of 16.
        batch: objects per step.
        targets: wanted views of each.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    folder: Path
    autoencoder: Path
    encoder: tuple[int, ...] = (48, 80, 112, 128)
    channels: tuple[int, ...] = (80, 128, 160)
    batch: int = 8
    targets: int = 4
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def __post_init__(self) -> None:
        check_channels(self.encoder)
        check_channels(self.channels)

    def config(self, autoencoder: PatchAutoencoder, size: int) -> dict[str, Any]:
        """What `build_view_prior` needs besides the tensors."""
        network = {"size": size, "encoder": list(self.encoder), "channels": list(self.channels)}
        return {"kind": VIEW_PRIOR, "autoencoder": autoencoder.config, "network": network}

    def setup(self) -> tuple[LiftedViews, ViewLoss]:
        """The prior and its loss."""
        shards = Shards.open(self.folder)
        torch.manual_seed(self.seed)
        model = lifted_views(load_autoencoder(self.autoencoder), shards.size, self.encoder, self.channels)
        fit_scale(model, shards)
        model = model.to(self.device)
        if self.compile:
            model.unet.compile()
            model.encoder.compile()
        return model, ViewLoss(shards, self.batch, self.targets, self.device)


@torch.no_grad()
def fit_scale(model: LiftedViews, shards: Shards, objects: int = 64) -> None:
    """Centre and scale the latents by those of some pictures."""
    v = Views.random(shards, objects, 3, torch.Generator().manual_seed(1))
    z = model.autoencoder.encode(2 * v.wanted.flatten(0, 1) - 1)
    model.shift.copy_(z.mean((0, 2, 3)).view(-1, 1, 1))
    model.scale.copy_(z.std((0, 2, 3)).view(-1, 1, 1))


def export_view_prior(checkpoint: Path, config: dict[str, Any], out: Path) -> LiftedViews:
    """Write the weights file of a view prior from its checkpoint."""
    tensors = averaged(checkpoint)
    write_weights(out, tensors, config)
    return build_view_prior(tensors, config)
