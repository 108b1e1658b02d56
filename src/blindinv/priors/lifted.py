"""A small latent view prior with geometry built in: it lifts the input picture into space, looks at it from the wanted camera,
and diffuses what is left.

    features of y  ->  density and colour features along the rays of the wanted camera (as in pixelNeRF, Yu et al., CVPR 2021)
                   ->  b, a first guess of the wanted view's latents                     z_0 ~ N(b, s^2)
                   ->  w + c_t F(z_t, w, features, t)      w, c_t: the mean and deviation of z_0 given z_t under that Gaussian

so that the network only learns what the projected picture does not say (GeNVS, Chan et al., ICCV 2023, conditions a diffusion
on projected features in the same way). Every step is differentiable in the pose.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.precision import computing
from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.view import Condition, noise_of
from blindinv.schedule import Schedule
from blindinv.views.camera import RADIUS, Camera

BOUND = 0.68
"""Radius of the sphere that the object is in; the objects of training have 0.65."""
DEPTHS = 4
"""Octaves of the code of depth."""

REMEMBERED = 8
"""Batches of views whose first guess is kept."""


class Lift(nn.Module):
    """What the wanted cameras see of a picture that is lifted into space by a volume of features.

    Args:
        channels: of the features of the picture.
        out: of what is seen; the first three are a colour.
        hidden: width of the network at a point.
        samples: points on each ray.
    """

    def __init__(self, channels: int = 48, out: int = 24, hidden: int = 64, samples: int = 16) -> None:
        super().__init__()
        self.samples = samples
        inputs = channels + 4 + 2 * DEPTHS
        layers = nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1 + out)
        self.point = nn.Sequential(*layers)
        nn.init.constant_(self.point[-1].bias[:1], -1.0)  # type: ignore[index]

    def forward(self, features: Tensor, source: Camera, target: Camera, size: int) -> tuple[Tensor, Tensor]:
        """Render.

        Args:
            features: (N, C, h, w) of the pictures.
            source: N cameras that took them.
            target: N wanted cameras.
            size: of what is seen.

        Returns:
            what is seen (N, out, size, size) and the share of each ray that ends in the object (N, 1, size, size).
        """
        points, length = between(target, size, self.samples)
        n, met = len(points), (length > 0).any(0)
        points, length = points[:, met], length[:, met]  # a third of the rays miss the sphere and see nothing
        plane, local = project(points, source)
        seen = F.grid_sample(features, plane.to(features), align_corners=False, padding_mode="border")
        where = torch.cat([local[..., :2], points[..., 2:] / BOUND, octaves(local[..., 2])], -1)
        out = self.point(torch.cat([seen.permute(0, 2, 3, 1), where], -1)).to(points.dtype)
        alpha = 1 - torch.exp(-F.softplus(out[..., :1] + 1) * 10 * length[..., None, None])
        left = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :, :1]), 1 - alpha + 1e-6], 2), 2)
        mixed = (left[:, :, :-1] * alpha * out[..., 1:]).sum(2)
        covered = (1 - left[:, :, -1]) * (length[..., None] > 0)
        picture = mixed.new_zeros(n, size * size, mixed.shape[-1] + 1)
        picture[:, met] = torch.cat([mixed, covered], -1)
        picture = picture.transpose(1, 2).reshape(n, -1, size, size)
        return picture[:, :-1], picture[:, -1:]


def project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Where N cameras see points (N, R, S, 3).

    Returns:
        places in the picture (N, R, S, 2), from -1 to 1 and from left to right and top to bottom; and places in space
        (N, R, S, 3), in radii of the object's sphere: to the right, up, and beyond the origin.
    """
    local = torch.einsum("nrsi,nij->nrsj", points - camera.position[:, None, None], camera.axes())
    depth = -local[..., 2].clamp(max=-0.1)
    plane = torch.stack([local[..., 0], -local[..., 1]], -1) / (depth[..., None] * math.tan(camera.fov / 2))
    beyond = depth - camera.radius[:, None, None]
    return plane, torch.cat([local[..., :2], beyond[..., None]], -1) / BOUND


def octaves(u: Tensor) -> Tensor:
    """u in about [-1, 1] and its sines and cosines of `DEPTHS` octaves, (..., 1 + 2 DEPTHS)."""
    turns = u[..., None] * torch.pi * 2.0 ** torch.arange(DEPTHS, device=u.device) / 2
    return torch.cat([u[..., None], turns.sin(), turns.cos()], -1)


def between(camera: Camera, size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Points (N, size^2, samples, 3) on the rays of N cameras, evenly spaced where they are in the object's sphere.

    Returns:
        the points, and the distance (N, size^2) between neighbours on a ray; 0 for rays that miss.
    """
    origin, direction = camera.rays(size)
    direction = direction.flatten(1, 2)
    middle = -(direction * origin[:, None]).sum(-1)
    half = (BOUND**2 - origin.square().sum(-1, keepdim=True) + middle.square()).clamp(min=1e-8).sqrt()
    half = half * (half > 1e-3)
    steps = (torch.arange(samples, device=origin.device) + 0.5) * 2 / samples - 1
    along = middle[..., None] + half[..., None] * steps.to(origin)
    return origin[:, None, None] + along[..., None] * direction[:, :, None], half * 2 / samples


class LiftedViews(nn.Module):
    """The view prior described above (a `ViewPrior`).

    The radius of the input's camera is taken for `RADIUS`: what it is in truth is the object's size, and that is known.

    Args:
        autoencoder: of pictures in [-1, 1].
        encoder: UNet of the input picture, called as `encoder(x, t).sample`; at half its resolution.
        lift: of its features.
        unet: denoiser, called as `unet(x, t).sample`.
        schedule: of the diffusion.
        size: side of the pictures.
        code: channels that the denoiser gets of what the wanted camera sees.
        dtype: as of `LatentPrior`; geometry is float32 always.

    Attributes:
        shift, scale: (C, 1, 1) of the latents, which are centred and scaled by them.
        spread: (C, 1, 1) the deviation s of z_0 from b.
    """

    shift: Tensor
    scale: Tensor
    spread: Tensor
    guidance = 4.0

    def __init__(
        self,
        autoencoder: PatchAutoencoder,
        encoder: Any,
        lift: Lift,
        unet: Any,
        schedule: Schedule,
        size: int,
        code: int = 40,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.autoencoder, self.encoder, self.lift, self.unet = autoencoder, encoder, lift, unet
        self.schedule, self.size, self.factor = schedule, size, autoencoder.factor
        channels = autoencoder.config["latent_channels"]
        seen = (lift.point[-1].out_features) * (self.factor // 2) ** 2  # type: ignore[operator]
        self.code = nn.Conv2d(int(seen), code, 1)  # type: ignore[call-overload]
        self.first = nn.Sequential(nn.Conv2d(int(seen), 96, 1), nn.SiLU(), nn.Conv2d(96, channels, 3, padding=1))  # type: ignore[call-overload]
        self._known: list[tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]] = []
        self.register_load_state_dict_post_hook(_forget)
        for name, value in (("shift", 0.0), ("scale", 1.0), ("spread", 0.5)):
            self.register_buffer(name, torch.full((channels, 1, 1), value))

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (N, 3, H, W)."""
        return (image[0], len(self.shift), image[2] // self.factor, image[3] // self.factor)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> z."""
        with computing(x.device, self.dtype):
            z = self.autoencoder.encode(2 * x - 1)
        return (z.to(x.dtype) - self.shift) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """z -> images, about [0, 1], not clipped."""
        with computing(z.device, self.dtype):
            x = self.autoencoder.decode(z * self.scale + self.shift)
        return 0.5 + 0.5 * x.to(z.dtype)

    def condition(self, image: Tensor, polar: Tensor) -> Condition:
        """Features (N, C, H/2, W/2) of images (N, 3, H, W) in [0, 1]; they do not depend on the polar angles."""
        with computing(image.device, self.dtype):
            features = self.features(2 * image - 1)
        return Condition({"features": features.to(image.dtype)}, polar)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H/2, W/2) of pictures in [-1, 1]."""
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        return self.encoder(x, torch.zeros(len(x), dtype=torch.long, device=x.device)).sample

    def look(self, features: Tensor, polar: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the wanted cameras see, (N, ., H/4, W/4), its colours over white (N, 3, H/2, W/2) in [-1, 1], its coverage.

        Args:
            features: (N, C, H/2, W/2).
            polar: (N,) of the input's camera.
            pose: (N, 3) relative to it.
        """
        zero = torch.zeros_like(polar)
        source = Camera(polar, zero, zero + RADIUS)
        seen, covered = self.lift(features, source, source.moved(pose), features.shape[-1])
        colour = seen[:, :3] + 1 - covered
        return F.pixel_unshuffle(torch.cat([seen, covered], 1), self.factor // 2), colour, covered

    def guess(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """b (N, C, h, w), and the code for the denoiser."""
        return self.first(seen).to(seen.dtype), self.code(seen)

    def correction(self, z: Tensor, t: Tensor, b: Tensor, code: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(w, c_t, F) of the formula above; t is (N,), integer, `spread` the deviation s of z_0 from b."""
        a = self.schedule.abar.to(z)[t].view(-1, 1, 1, 1)
        variance = spread.square()
        total = a * variance + 1 - a
        w = b + a.sqrt() * variance / total * (z - a.sqrt() * b)
        c = (variance * (1 - a) / total).sqrt()
        left = (z - a.sqrt() * w) / (1 - a).sqrt()
        x = torch.cat([left, w, code.to(z)], 1).contiguous(memory_format=torch.channels_last)
        return w, c, self.unet(x, t).sample.to(z.dtype)

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        """The noise in z (N, C, h, w), seen from `pose`; differentiable in the pose and in cond.polar.

        Without a condition nothing is seen.
        """
        b, code = self._guessed(cond.features["features"], cond.polar, pose)
        given = self._noise(z, t, b, code, self.spread)
        if guidance == 1:
            return given
        without = self._noise(z, t, torch.zeros_like(b), torch.zeros_like(code), torch.ones_like(self.spread))
        return without + guidance * (given - without)

    def _guessed(self, *of: Tensor) -> tuple[Tensor, Tensor]:
        """What does not depend on z and t; looked up, as a diffusion asks for the same views at every step.

        Args:
            of: features, polar angles and poses.
        """
        if self.training or (torch.is_grad_enabled() and any(x.requires_grad for x in (*of, self.code.weight))):
            return self.guess(self.look(*of)[0])
        for known, answer in self._known:
            if all(_same(x, k) for x, k in zip(reversed(of), reversed(known), strict=True)):
                return answer
        answer = self.guess(self.look(*of)[0])
        self._known = [(tuple(x.clone() for x in of), answer), *self._known[: REMEMBERED - 1]]
        return answer

    def _noise(self, z: Tensor, t: int, b: Tensor, code: Tensor, spread: Tensor) -> Tensor:
        times = torch.full((len(z),), t, device=z.device, dtype=torch.long)
        with computing(z.device, self.dtype):
            w, c, f = self.correction(z, times, b, code, spread)
        return noise_of(w + c * f, z, self.schedule.at(t))


def _same(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.device, a.dtype) == (b.shape, b.device, b.dtype) and torch.equal(a, b)


def _forget(model: nn.Module, keys: object) -> None:
    """After new weights are loaded, the answers of the old ones are wrong."""
    assert isinstance(model, LiftedViews)
    model._known.clear()
