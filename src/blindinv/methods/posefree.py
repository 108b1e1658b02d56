"""LatentDEM for pictures without poses (Bai et al., "Blind Inversion using Latent Diffusion Priors", algorithm 2)."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from blindinv.mstep.pose import Aligned
from blindinv.priors.view import ViewPrior
from blindinv.protocols import Guidance, Step, Unknown
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import DDIM
from blindinv.unknown import Known
from blindinv.views.consistent import Chains, Consistent, FirstView, Fused, Gamma, even
from blindinv.views.scene import Scene


def posefree(
    y: Tensor,
    prior: ViewPrior,
    targets: Tensor,
    poses: Tensor,
    *,
    polar: float | Tensor = torch.pi / 2,
    known: bool = False,
    guidance: float = 3.0,
    gamma: Gamma = even,
    two_chains: bool = False,
    steps: int = 50,
    step: Step = DDIM(),  # noqa: B008
    every: int = 1,
    below: int = 1000,
    chunk: int = 32,
    rng: list[torch.Generator] | None = None,
) -> Iterator[Progress]:
    """Novel views of B objects from n pictures each, while the poses of y_2 .. y_n relative to y_1 are estimated.

    E-step by eq. 25 (or algorithm 2's two chains), M-step by eqs. 12 and 26. `find_poses` makes the poses to start from,
    which algorithm 2 takes as given. With one picture this is Zero123.

    Args:
        y: (B, n, 3, H, W) pictures in [0, 1] on white.
        prior: of views.
        targets: (V, 3) wanted views relative to y_1: (d_polar, d_azimuth, d_radius).
        poses: (B, n - 1, 3), where the estimate starts.
        polar: absolute polar angle of y_1, radians; or one per object, (B,).
        known: the poses are true and stay.
        guidance: of classifier-free guidance in the E-step (Zero123's default is 3).
        gamma: gamma_t. 0.5 at all t is best where the poses are known or were searched; `Rise()` is the annealing of appendix
            C.2, for poses that are still to be found.
        two_chains: algorithm 2's form of the E-step instead of eq. 25's.
        steps: of the reverse diffusion.
        step: reverse step.
        every: one M-step in so many steps.
        below: M-steps at smaller timesteps only; 0: none. A learnt prior pulls good poses away, most of all at high timesteps;
            those that are 20 degrees off are only found there.
        chunk: evaluations of the prior at a time.
        rng: one generator per object.

    Yields:
        one `Progress` per step: `phi` are the poses, `z0` is (B, chains, V, C, h, w); the last one has `x`, the views
        (B, V, 3, H, W), not clipped, the others None.

    Raises:
        ValueError: shapes that do not belong together.
    """
    _check(y, targets, poses)
    at = torch.as_tensor(polar).to(y).expand(len(y))
    scene = Scene.of(prior, y, targets, at, guidance, chunk)
    times = prior.schedule.timesteps(steps)
    turns = {t for t in times[::every] if t < below}
    phi: Unknown = Known(poses) if known else Aligned(poses, scene, gamma, active=turns.__contains__)
    move: Guidance = Chains(scene) if two_chains else Consistent(scene, gamma)
    views = FirstView(scene, y.shape[1] if two_chains else 1)
    x = Diffused(views, times, Fused(step, gamma) if two_chains else step)
    for p in solve(y, x, phi, move, y.new_zeros(len(y), 1, 1, 1), rng=rng):
        done = p.step == p.total and p.x is not None
        yield replace(p, x=decoded(prior, p.x, chunk) if done and p.x is not None else None)


def _check(y: Tensor, targets: Tensor, poses: Tensor) -> None:
    if y.ndim != 5 or y.shape[2] != 3:
        raise ValueError(f"y must be (B, n, 3, H, W), got {tuple(y.shape)}")
    if targets.ndim != 2 or targets.shape[1] != 3 or not len(targets):
        raise ValueError(f"targets must be (V, 3), got {tuple(targets.shape)}")
    if tuple(poses.shape) != (len(y), y.shape[1] - 1, 3):
        raise ValueError(
            f"poses must be {(len(y), y.shape[1] - 1, 3)}, one for each picture but the first, got {tuple(poses.shape)}"
        )


@torch.no_grad()
def decoded(prior: ViewPrior, z: Tensor, chunk: int = 8) -> Tensor:
    """Latents (B, V, C, h, w) -> pictures (B, V, 3, H, W), a few at a time."""
    flat = z.flatten(0, 1)
    return torch.cat([prior.decode(piece) for piece in flat.split(chunk)]).unflatten(0, z.shape[:2])
