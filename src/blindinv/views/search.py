"""Where is the second camera? Probes around the object, descent from the best of them, and a ranking of what is found.

Algorithm 2 of LatentDEM takes a first pose as given. It comes from here: the loss is the error of denoising, as in ID-Pose
(Cheng et al., "ID-Pose: Sparse-view camera pose estimation by inverting diffusion models", 2023) and iFusion (Wu et al.,
"iFusion: Inverting diffusion for pose-free reconstruction from sparse views", 2023).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from blindinv.mstep.pose import within
from blindinv.priors.view import Condition, ViewPrior
from blindinv.views.camera import Camera, camera_error

DIFFERENCE = 0.02
"""Of finite differences, radians."""
DAMPING = 0.01
"""Of Gauss-Newton steps, share of the mean curvature."""


@dataclass(frozen=True)
class Search:
    """How hard to look.

    Args:
        azimuths: probes around the object, evenly spaced; the first has the azimuth of y_1.
        polars: differences of polar angle to probe at each azimuth, radians. Under an exact prior, with the true one up to
            1.4, three of them find every one of 100 poses and 0 alone misses one, for 6 % more time.
        keep: probes to descend from, ...
        apart: ... at least so many degrees from each other where there are such, or all would end in one valley.
        left: candidates that descend further after a third of the steps.
        steps: of the descent.
        reach: length of its longest step, radians.
        levels: timesteps of 1000 at which probes and results are compared. From one draw of noise, the shipped prior tells a
            pose from one 10 degrees off by 3.6 standard deviations at 900, 2.0 at 600, 1.2 at 100; but least errors are
            nearer to the truth at 400 than at 900.
        start: timestep of 1000 where the descent starts, ...
        end: ... and where it ends: coarse first, then fine.
        draws: draws of noise per level and per step, the same for all candidates.
        merge: candidates closer than this, in degrees, are one.
        chunk: evaluations of the prior at a time.
    """

    azimuths: int = 8
    polars: tuple[float, ...] = (0.0, -0.6, 0.6)
    keep: int = 4
    apart: float = 45.0
    left: int = 2
    steps: int = 12
    reach: float = 0.2
    levels: tuple[int, ...] = (900, 750)
    start: int = 900
    end: int = 400
    draws: int = 3
    merge: float = 30.0
    chunk: int = 32

    def probes(self) -> Tensor:
        """(K, 3) relative poses."""
        around = [2 * math.pi * i / self.azimuths for i in range(self.azimuths)]
        return torch.tensor([[p, (a + math.pi) % (2 * math.pi) - math.pi, 0.0] for p in self.polars for a in around])


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """Poses of one picture relative to the first, the best one first.

    Attributes:
        poses: (K, 3).
        losses: (K,) errors of denoising at the same noise; they have a floor above 0.
        typical: loss of the median probe: what a wrong pose has.
    """

    poses: Tensor
    losses: Tensor
    typical: float

    @property
    def margin(self) -> float:
        """How much worse the second is than the first, where 1 is as bad as a wrong pose; infinite if there is no second."""
        if len(self.losses) < 2:
            return math.inf
        gap, scale = float(self.losses[1] - self.losses[0]), self.typical - float(self.losses[0])
        return gap / scale if scale > 0 else 0.0

    def warning(self, least: float = 0.1) -> str | None:
        """One line where the second hypothesis is within `least` of the first; None if the first is clear."""
        if self.margin >= least:
            return None
        polar, azimuth, _ = torch.rad2deg(self.poses[1] - self.poses[0]).tolist()
        turn = (azimuth + 180) % 360 - 180
        return (
            f"the pose is ambiguous: another one, {turn:+.0f} degrees of azimuth and {polar:+.0f} of polar angle away, explains "
            f"the pictures almost as well (margin {self.margin:.2f}); symmetric objects do this, and a third picture may help"
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures of one object: what the loss of a relative pose needs.

    Args:
        prior: the view prior.
        cond: of y_1 and y_2; cond.polar[0] is the absolute polar angle of y_1.
        z: encodings of both, (2, C, h, w).
        chunk: evaluations of the prior at a time.
    """

    prior: ViewPrior
    cond: Condition
    z: Tensor
    chunk: int = 32

    @classmethod
    def of(cls, prior: ViewPrior, y: Tensor, polar: Tensor, chunk: int = 32) -> "Pair":
        """From two pictures (2, 3, H, W) in [0, 1] and the polar angle of the first, a scalar."""
        with torch.no_grad():
            return cls(prior, prior.condition(y, polar.expand(2)), prior.encode(y), chunk)

    def error(self, pose: Tensor, t: int, noise: Tensor) -> Tensor:
        """The error of denoising in both directions, mean per element, (K,); differentiable in the pose.

        |n - eps(a z(y_2) + s n, t, y_1, phi)|^2 + |n - eps(a z(y_1) + s n, t, y_2, -phi)|^2,   a^2 = abar_t, s^2 = 1 - abar_t

        Args:
            pose: phi, (K, 3), of y_2 relative to y_1.
            t: timestep.
            noise: n, (C, h, w), the same for all poses.
        """
        return 2 * self.residual(pose, t, noise).square().mean(1)

    def residual(self, pose: Tensor, t: int, noise: Tensor) -> Tensor:
        """What is squared in `error`, (K, 2 C h w)."""
        return torch.cat([self._residual(piece, t, noise) for piece in pose.split(max(1, self.chunk // 2))])

    def _residual(self, pose: Tensor, t: int, noise: Tensor) -> Tensor:
        count, abar = len(pose), self.prior.schedule.at(t)
        z = (abar**0.5 * self.z + (1 - abar) ** 0.5 * noise)[[1] * count + [0] * count]
        polar = self.cond.polar[0] + torch.cat([torch.zeros_like(pose[:, 0]), pose[:, 0]])
        cond = self.cond[[0] * count + [1] * count].at(polar)
        left = (self.prior.eps(z, t, cond, torch.cat([pose, -pose])) - noise).flatten(1)
        return torch.cat([left[:count], left[count:]], 1)


def noises(like: Tensor, count: int, rng: torch.Generator) -> Iterator[Tensor]:
    """`count` draws (C, h, w)."""
    for _ in range(count):
        yield torch.randn(like.shape[1:], generator=rng, device=like.device, dtype=like.dtype)


def level(prior: ViewPrior, t: float) -> int:
    """A timestep of 1000 on the prior's schedule."""
    return min(len(prior.schedule) - 1, max(0, round(t / 1000 * len(prior.schedule))))


@torch.no_grad()
def compare(pair: Pair, poses: Tensor, search: Search, rng: torch.Generator) -> Tensor:
    """Losses (K,) of poses (K, 3) over all levels and draws, with the same noise for all of them."""
    total = torch.zeros(len(poses), device=poses.device, dtype=poses.dtype)
    for t in search.levels:
        for noise in noises(pair.z, search.draws, rng):
            total += pair.error(poses, level(pair.prior, t), noise)
    return total / (len(search.levels) * search.draws)


@torch.no_grad()
def descend(pair: Pair, poses: Tensor, search: Search, rng: torch.Generator) -> Tensor:
    """(K, 3): Gauss-Newton on the error of denoising, from high noise to low; the same noise for all candidates at each step.

    After a third of the steps, `search.left` candidates go on: the best ones that are apart. They come first.
    """
    polar, third, losses, behind = pair.cond.polar[:1], search.steps // 3, poses.new_zeros(len(poses)), poses[:0]
    for i in range(search.steps):
        if i == third:
            poses = poses[ranked(poses, losses, polar, search.apart)]
            poses, behind = poses[: search.left], poses[search.left :]
        u = i / max(1, search.steps - 1)
        t = level(pair.prior, search.start + u * (search.end - search.start))
        move, losses = _newton(pair, poses, t, search.draws, i >= third, rng)
        move = move / max(1, i - third)  # shorter and shorter, which averages over the noise
        move = move * (search.reach / move.norm(dim=1, keepdim=True)).clamp(max=1)
        poses = within(poses + move, polar)
    return torch.cat([poses, behind])


def _newton(pair: Pair, poses: Tensor, t: int, draws: int, radius: bool, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """A step (K, 3) downhill, and the errors (K,) before it; the slopes are finite differences.

    The radius waits until the angles are about right.
    """
    aside = torch.cat([poses.new_zeros(1, 3), DIFFERENCE * torch.eye(3).to(poses)])
    near = (poses[:, None] + aside).flatten(0, 1)
    curve, slope, losses = poses.new_zeros(len(poses), 3, 3), torch.zeros_like(poses), poses.new_zeros(len(poses))
    for noise in noises(pair.z, draws, rng):
        left = pair.residual(near, t, noise).unflatten(0, (-1, 4))
        by = (left[:, 1:] - left[:, :1]) / DIFFERENCE
        curve, slope = curve + by @ by.mT, slope + (by @ left[:, 0, :, None])[..., 0]
        losses += left[:, 0].square().mean(1)
    if not radius:
        slope[:, 2], curve[:, 2, :2], curve[:, :2, 2] = 0, 0, 0
    mean = curve.diagonal(dim1=1, dim2=2).mean(1)
    damped = curve + (DAMPING * mean + 1e-12)[:, None, None] * torch.eye(3).to(poses)
    return -torch.linalg.solve(damped, slope), losses


def batches(poses: int, chunk: int) -> int:
    """How often the prior is asked for the errors of so many poses."""
    return math.ceil(poses / max(1, chunk // 2))


def descent_batches(search: Search, chunk: int) -> int:
    """How often the prior is asked by `descend`; a step needs every pose and its three neighbours."""
    third = search.steps // 3
    early, late = batches(4 * search.keep, chunk), batches(4 * min(search.left, search.keep), chunk)
    return search.draws * (third * early + (search.steps - third) * late)


def distinct(poses: Tensor, polar: Tensor, degrees: float) -> list[int]:
    """Indices of poses that are at least so far from every one kept before."""
    kept: list[int] = []
    base = torch.cat([polar, polar.new_tensor([0.0, 1.0])])
    cameras = Camera.of(base + poses)
    for i in range(len(poses)):
        if all(float(camera_error(cameras[i : i + 1], cameras[k : k + 1])) >= degrees for k in kept):
            kept.append(i)
    return kept


def ranked(poses: Tensor, losses: Tensor, polar: Tensor, degrees: float) -> Tensor:
    """(K,) indices, the least loss first; those nearer than this to a better one come after all that are not."""
    order = losses.argsort()
    first = distinct(poses[order], polar, degrees)
    return order[first + [i for i in range(len(order)) if i not in first]]


def find_pose(pair: Pair, search: Search = Search(), seed: int = 0) -> Hypotheses:
    """Ranked poses of the second picture relative to the first."""
    rng = torch.Generator(pair.z.device).manual_seed(seed)
    polar = pair.cond.polar[:1]
    probes = within(search.probes().to(pair.z), polar)
    losses = compare(pair, probes, search, rng)
    start = probes[ranked(probes, losses, polar, search.apart)[: search.keep]]
    found = descend(pair, start, search, rng)
    final = compare(pair, found, search, rng.manual_seed(seed))  # the noise of the probes, or `typical` is of another floor
    order = final.argsort()
    order = order[distinct(found[order], polar, search.merge)]
    return Hypotheses(found[order], final[order], float(losses.median()))


def find_poses(
    y: Tensor,
    prior: ViewPrior,
    polar: float | Tensor = torch.pi / 2,
    search: Search = Search(),
    seed: int = 0,
) -> list[Hypotheses]:
    """Ranked poses of y_2 .. y_n relative to y_1, each on its own; the list of n - 1 is empty for one picture.

    Args:
        y: (n, 3, H, W) pictures in [0, 1] on white.
        prior: of views.
        polar: absolute polar angle of y_1, radians.
        search: how hard to look.
        seed: of the noise.
    """
    at = torch.as_tensor(polar).to(y)
    pairs = [Pair.of(prior, y[[0, j]], at, search.chunk) for j in range(1, len(y))]
    return [find_pose(pair, search, seed + i) for i, pair in enumerate(pairs)]


def best(found: list[Hypotheses], like: Tensor) -> Tensor:
    """(1, n - 1, 3): the first hypothesis of each picture, to start `posefree` from; (1, 0, 3) for one picture."""
    return torch.stack([h.poses[0] for h in found])[None] if found else like.new_zeros(1, 0, 3)
