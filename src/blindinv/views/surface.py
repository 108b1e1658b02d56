"""A surface from views: a signed distance grid and a colour grid, fitted by volume rendering.

After Wang et al., "NeuS: Learning neural implicit surfaces by volume rendering", NeurIPS 2021, with two changes. The fields
are grids instead of networks, refined from coarse to fine, which takes seconds on a CPU. And the sharpness of the surface
follows a schedule instead of being learned.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.views.camera import Camera
from blindinv.views.masks import masks_from_white
from blindinv.views.mesh import Mesh, marched
from blindinv.views.pixels import Pixels
from blindinv.views.volume import crossing, even, refined, sampled, weights


@dataclass(frozen=True)
class Fit:
    """How to fit. Lengths are in units of the world, where cameras are at about 1.8 and objects within `extent`.

    Args:
        resolutions: nodes along a side of the grids, one for each level, from coarse to fine.
        iterations: of each level.
        rates: Adam's step length of the signed distance at each level; it falls within a level, too.
        colour_rate: that of the colours, on the logit scale.
        rays: per iteration, two thirds of them on the object.
        samples: per ray, to look for the surface, ...
        fine: ... and near it, with gradients.
        sharpness: of the surface, at the start and at the end, per unit of length.
        extent: the grids cover [-extent, extent]^3.
        start: radius of the sphere to start from.
        mask: weight of the masks.
        edge: width in pixels of the edges of objects, where masks are made from white, see `masks_from_white`.
        eikonal: weight of |grad sdf| = 1.
        smooth: weight of the squared Laplacian of the signed distance.
        huber: colour errors below this count squared (0: all count as they are, L1).
        pose_rate: Adam's step length of corrections of the cameras' poses (0: they are right).
        average: share of the past in the running mean of the grids, which is what a level returns; it takes the roughness
            that few rays leave.
    """

    resolutions: tuple[int, ...] = (32, 64)
    iterations: tuple[int, ...] = (300, 400)
    rates: tuple[float, ...] = (1e-2, 5e-3)
    colour_rate: float = 6e-2
    rays: int = 960
    samples: int = 64
    fine: int = 32
    sharpness: tuple[float, float] = (30.0, 600.0)
    extent: float = 0.7
    start: float = 0.3
    mask: float = 0.5
    edge: int = 1
    eikonal: float = 0.1
    smooth: float = 0.1
    huber: float = 0.0
    pose_rate: float = 0.0
    average: float = 0.97

    def __post_init__(self) -> None:
        """Check that levels have all they need."""
        if not len(self.resolutions) == len(self.iterations) == len(self.rates):
            raise ValueError("every level needs a resolution, a number of iterations and a rate")

    @classmethod
    def diffused(cls) -> "Fit":
        """For generated views, which do not agree with each other exactly: coarser, smoother, with cameras that may move.

        Where cameras are off by 3 degrees, F@0.02 of two objects is 0.98 this way, and 0.94 as for true views.
        """
        levels = cls((32, 48), (300, 300), sharpness=(30.0, 400.0), smooth=0.3)
        return replace(levels, mask=0.2, edge=3, huber=0.1, pose_rate=2e-3)


@dataclass(frozen=True, eq=False)
class Surface:
    """A coloured solid on the cube [-extent, extent]^3.

    Attributes:
        sdf: (1, 1, R, R, R) signed distances, negative inside; axes x, y, z.
        colour: (1, 3, R, R, R) logits of colours.
        extent: half a side of the cube.
        sharpness: that it was fitted with at the end.
    """

    sdf: Tensor
    colour: Tensor
    extent: float
    sharpness: float

    def finer(self, resolution: int) -> "Surface":
        """The same on another grid."""
        size = (resolution,) * 3
        sdf, colour = (F.interpolate(g.detach(), size, mode="trilinear", align_corners=True) for g in (self.sdf, self.colour))
        return replace(self, sdf=sdf, colour=colour)

    def mesh(self, resolution: int | None = None) -> Mesh:
        """Its largest connected part as triangles.

        Args:
            resolution: of the grid that is marched through; None: its own.

        Raises:
            ValueError: there is no surface.
        """
        grid = (self if resolution is None else self.finer(resolution)).sdf[0, 0].detach().float().cpu()
        vertices, faces = marched(grid.numpy(), self.extent)
        at = torch.from_numpy(vertices).to(self.sdf)
        colours = sampled(self.colour.detach(), at, self.extent).sigmoid().float().cpu().numpy()
        return Mesh(vertices, faces, colours).largest()

    def look(self, origin: Tensor, direction: Tensor, samples: int, fine: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """What rays (N, 3) see: colours (N, 3) without background, and how much of each ray is stopped, (N,).

        Args:
            origin: of the rays.
            direction: unit vectors.
            samples: per ray, to look for the surface.
            fine: per ray, near it.
            rng: places the samples.
        """
        near, far, hit = crossing(origin, direction, self.extent)
        near, far = torch.where(hit, near, 0), torch.where(hit, far, 1)
        with torch.no_grad():
            depth = even(near, far, _uniform(len(origin), samples, rng))
            coarse = weights(self._distance(origin, direction, depth), self.sharpness)
            depth = refined(depth, coarse, _uniform(len(origin), fine, rng))
        points = origin[:, None] + depth[..., None] * direction[:, None]
        w = weights(sampled(self.sdf, points, self.extent)[..., 0], self.sharpness) * hit[:, None]
        middle = (points[:, 1:] + points[:, :-1]) / 2
        colour = sampled(self.colour, middle, self.extent).sigmoid()
        return (w[..., None] * colour).sum(1), w.sum(1)

    def _distance(self, origin: Tensor, direction: Tensor, depth: Tensor) -> Tensor:
        return sampled(self.sdf, origin[:, None] + depth[..., None] * direction[:, None], self.extent)[..., 0]

    @torch.no_grad()
    def render(self, camera: Camera, size: int, chunk: int = 8192) -> Tensor:
        """(B, 3, size, size) in [0, 1] on white: the pictures that B cameras take.

        Args:
            camera: on the device of the grids.
            size: of the pictures.
            chunk: rays at a time.
        """
        origin, direction = camera.rays(size)
        origins = origin[:, None, None].expand_as(direction).reshape(-1, 3)
        rng = torch.Generator(origin.device).manual_seed(0)
        pieces = zip(origins.split(chunk), direction.reshape(-1, 3).split(chunk), strict=True)
        seen = [c + (1 - a)[:, None] for c, a in (self.look(o, d, 96, 32, rng) for o, d in pieces)]
        return torch.cat(seen).view(*direction.shape).permute(0, 3, 1, 2).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Fitting:
    """What is known after an iteration of a fit.

    Attributes:
        step: 1 .. total.
        total: number of iterations.
        loss: mean error of the colours over the last iterations or so.
        surface: in the last one only.
        camera: in the last one only: the cameras, corrected if they were to be.
    """

    step: int
    total: int
    loss: float
    surface: Surface | None = None
    camera: Camera | None = None


def _uniform(rows: int, columns: int, rng: torch.Generator) -> Tensor:
    return torch.rand(rows, columns, generator=rng, device=rng.device)


def sphere(resolution: int, extent: float, radius: float, like: Tensor) -> Tensor:
    """Signed distances (1, 1, R, R, R) to a sphere around the origin."""
    at = torch.linspace(-extent, extent, resolution, device=like.device, dtype=like.dtype)
    x, y, z = torch.meshgrid(at, at, at, indexing="ij")
    return ((x * x + y * y + z * z).sqrt() - radius)[None, None]


def fit_surface(
    views: Tensor,
    camera: Camera,
    masks: Tensor | None = None,
    settings: Fit = Fit(),
    seed: int = 0,
) -> Iterator[Fitting]:
    """Fit a surface to views.

    The loss is |colour - view| + mask * BCE(stopped, mask) + eikonal (|grad f| - 1)^2 + smooth (laplace f)^2.

    Args:
        views: (V, 3, S, S) in [0, 1] on white.
        camera: V cameras, on the same device.
        masks: (V, 1, S, S) in [0, 1], 1 on the object; None: from the white of the views, see `masks_from_white`.
        settings: how to fit.
        seed: of the rays and samples.

    Yields:
        one `Fitting` per iteration; the last one has the surface.

    Raises:
        ValueError: shapes that do not belong together, or views that show nothing.
    """
    if views.ndim != 4 or views.shape[1] != 3 or len(views) != len(camera) or views.shape[2] != views.shape[3]:
        raise ValueError(f"{len(camera)} cameras need views ({len(camera)}, 3, S, S), got {tuple(views.shape)}")
    masks = masks_from_white(views, edge=settings.edge) if masks is None else masks
    pixels = Pixels(views, masks, camera, settings.extent)
    if not len(pixels.inside):
        raise ValueError("the views show no object: all of them are white")
    rng = torch.Generator(views.device).manual_seed(seed)
    sdf = sphere(settings.resolutions[0], settings.extent, settings.start, views)
    surface = Surface(sdf, torch.zeros_like(sdf).repeat(1, 3, 1, 1, 1), settings.extent, settings.sharpness[0])
    moves, step, total, loss = torch.zeros_like(camera.pose), 0, sum(settings.iterations), 0.0
    for level in range(len(settings.resolutions)):
        run = _Level(pixels, settings, surface.finer(settings.resolutions[level]), moves, settings.rates[level])
        for i in range(settings.iterations[level]):
            now = run.step(i / settings.iterations[level], step / total, rng)
            step, loss = step + 1, now if step == 0 else 0.95 * loss + 0.05 * now
            if step < total:
                yield Fitting(step, total, loss)
        surface, moves = run.mean, run.moves.detach()
    yield Fitting(step, total, loss, surface, camera.moved(moves - moves.mean(0)))


class _Level:
    """The fit at one resolution."""

    def __init__(self, pixels: Pixels, settings: Fit, surface: Surface, moves: Tensor, rate: float) -> None:
        self.pixels, self.settings, self.mean, self.count = pixels, settings, surface, 0
        grids = (surface.sdf.clone().requires_grad_(), surface.colour.clone().requires_grad_())
        self.surface, self.moves = replace(surface, sdf=grids[0], colour=grids[1]), moves.clone().requires_grad_()
        self.rates = (rate, settings.colour_rate, settings.pose_rate)[: 3 if settings.pose_rate else 2]
        groups = [{"params": [p], "lr": r} for p, r in zip((*grids, self.moves), self.rates, strict=False)]
        self.optimiser = torch.optim.Adam(groups, fused=True)

    def step(self, level: float, whole: float, rng: torch.Generator) -> float:
        """One iteration at these shares of the level and of the whole fit; returns the error of the colours."""
        s, (start, end) = self.settings, self.settings.sharpness
        self.surface = replace(self.surface, sharpness=start * (end / start) ** whole)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * level)))
        index, camera = self.pixels.draw(s.rays, rng), self.pixels.camera
        if s.pose_rate:
            camera = camera.moved(self.moves - self.moves.mean(0))
        colour, stopped = self.surface.look(*self.pixels.rays(index, camera), s.samples, s.fine, rng)
        error = colour + (1 - stopped)[:, None] - self.pixels.colour[index]
        photo = F.huber_loss(error, torch.zeros_like(error), delta=s.huber) / s.huber if s.huber else error.abs().mean()
        outline = F.binary_cross_entropy(1e-3 + (1 - 2e-3) * stopped, self.pixels.mask[index])
        loss = photo + s.mask * outline + self._shape()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self._average()
        return float(photo.detach())

    @torch.no_grad()
    def _average(self) -> None:
        self.count += 1
        new = 1 - min(self.settings.average, self.count / (self.count + 9))
        sdf = self.mean.sdf.lerp(self.surface.sdf, new)
        self.mean = replace(self.surface, sdf=sdf, colour=self.mean.colour.lerp(self.surface.colour, new))

    def _shape(self) -> Tensor:
        """The terms that know no pictures: eikonal and smoothness, over the whole grid."""
        f, s = self.surface.sdf[0, 0], self.settings
        h = 2 * s.extent / (len(f) - 1)
        dx, dy, dz = ((f.roll(-1, d) - f)[:-1, :-1, :-1] / h for d in range(3))
        eikonal = ((dx * dx + dy * dy + dz * dz + 1e-8).sqrt() - 1).square().mean()
        inner = f[1:-1, 1:-1, 1:-1]
        around = f[2:, 1:-1, 1:-1] + f[:-2, 1:-1, 1:-1] + f[1:-1, 2:, 1:-1] + f[1:-1, :-2, 1:-1]
        laplace = (around + f[1:-1, 1:-1, 2:] + f[1:-1, 1:-1, :-2] - 6 * inner) / h
        return s.eikonal * eikonal + s.smooth * laplace.square().mean()
