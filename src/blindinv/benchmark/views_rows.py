"""The rows of `blindinv bench views`: functions of an object and a context -> novel views and poses."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from blindinv.benchmark.views_cases import GAPS, ViewCase, input_cameras
from blindinv.methods.posefree import posefree
from blindinv.priors.view import ViewPrior
from blindinv.training.view_data import random_cameras
from blindinv.views.camera import camera_error
from blindinv.views.consistent import Gamma, Rise, even
from blindinv.views.reconstruct import REFINED
from blindinv.views.search import Hypotheses, Pair, Search, find_pose


@dataclass
class Clock:
    """Wall-clock and processor seconds."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts what is done within the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


@dataclass
class ViewContext:
    """What rows share.

    Args:
        prior: of views.
        guidance: of classifier-free guidance.
        steps: of the reverse diffusion.
        search: how hard to look for poses.
        seed: of all random numbers.
    """

    prior: ViewPrior
    guidance: float = 1.0
    steps: int = 50
    search: Search = Search()  # noqa: RUF009 (a frozen value)
    seed: int = 0
    _found: dict[tuple[str, int], tuple[Hypotheses, Clock]] = field(default_factory=dict)

    def found(self, case: ViewCase, j: int) -> tuple[Hypotheses, Clock]:
        """Poses of picture j (from 0) relative to the first, and what it took to find them; looked for once."""
        if (case.name, j) not in self._found:
            clock = Clock()
            with clock.running():
                pair = Pair.of(self.prior, case.inputs[[0, j]], case.camera.polar[0], self.search.chunk)
                found = find_pose(pair, self.search, self.seed + j - 1)
            self._found[case.name, j] = found, clock
        return self._found[case.name, j]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a row says.

    Attributes:
        novel: (V, 3, S, S) in [0, 1], the views, on the CPU.
        poses: (n - 1, 3) that were estimated; None where none were.
        found: (n - 1, 3) where the estimate started.
        clock: time that it took, the search included, though that may have been done for another row.
    """

    novel: Tensor
    poses: Tensor | None = None
    found: Tensor | None = None
    clock: Clock = field(default_factory=Clock)


Poses = Callable[[ViewCase, ViewContext, int], Tensor]
"""An object, the context and n -> poses (n - 1, 3) of pictures 2 .. n."""
ViewRow = Callable[[ViewCase, ViewContext], Answer]


def true_poses(case: ViewCase, context: ViewContext, count: int) -> Tensor:
    """Those of the object."""
    return case.poses[: count - 1]


def poses_of_another(case: ViewCase, context: ViewContext, count: int) -> Tensor:
    """The true ones of the next object, whose gap is another one."""
    camera = input_cameras(case.index + 1, context.seed)[:count]
    return camera[1:].relative_to(camera[[0] * (count - 1)]).to(case.inputs)


def random_poses(case: ViewCase, context: ViewContext, count: int) -> Tensor:
    """Anywhere."""
    rng = torch.Generator().manual_seed(context.seed * 1_000_003 + 7_000_000 + case.index)
    camera = random_cameras(count - 1, rng)
    return camera.relative_to(case.camera[[0] * (count - 1)]).to(case.inputs)


def found_poses(case: ViewCase, context: ViewContext, count: int) -> Tensor:
    """The best ones of `find_pose`."""
    return torch.stack([context.found(case, j)[0].poses[0] for j in range(1, count)])


def nearest_input(case: ViewCase, context: ViewContext) -> Answer:
    """Of pictures 1 and 2, the one that was taken nearest to the target, by the true poses."""
    apart = torch.stack([camera_error(case.wanted, case.camera[[j] * len(case.wanted)]) for j in range(2)])
    return Answer(case.inputs[apart.argmin(0)].cpu())


@dataclass(frozen=True)
class Views:
    """`posefree` with the first `count` pictures.

    Args:
        count: n.
        poses: where the estimate starts.
        known: whether it stays there.
        gamma: gamma_t; by default both pictures count alike, as in `posefree`.
        two_chains: algorithm 2's form of the E-step.
        below: poses are refined at smaller timesteps.
    """

    count: int
    poses: Poses
    known: bool = False
    gamma: Gamma = even
    two_chains: bool = False
    below: int = REFINED

    def __call__(self, case: ViewCase, context: ViewContext) -> Answer:
        """Novel views, and poses where they were looked for."""
        start = self.poses(case, context, self.count) if self.count > 1 else case.poses[:0]
        searched = [context.found(case, j)[1] for j in range(1, self.count)] if self.poses is found_poses else []
        clock = Clock(sum(c.wall for c in searched), sum(c.cpu for c in searched))
        with clock.running():
            novel, poses = self._views(start, case, context)
        return Answer(novel, poses, start, clock) if searched else Answer(novel, clock=clock)

    def _views(self, start: Tensor, case: ViewCase, context: ViewContext) -> tuple[Tensor, Tensor]:
        """On the CPU: views (V, 3, S, S) and poses (n - 1, 3)."""
        *_, last = posefree(
            case.inputs[None, : self.count],
            context.prior,
            case.goals,
            start[None],
            polar=case.camera.polar[0],
            known=self.known,
            guidance=context.guidance,
            gamma=self.gamma,
            two_chains=self.two_chains,
            steps=context.steps,
            below=self.below,
            rng=[torch.Generator(case.inputs.device).manual_seed(context.seed * 1_000_003 + case.index)],
        )
        assert last.x is not None and isinstance(last.phi, Tensor)
        return last.x[0].float().cpu().clamp(0, 1), last.phi[0].float().cpu()


TWO = Views(2, found_poses)

ROWS: dict[str, ViewRow] = {
    "nearest-input": nearest_input,
    "one-view": Views(1, true_poses, known=True),
    "two-random": Views(2, random_poses, known=True),
    "two-shuffled": Views(2, poses_of_another, known=True),
    "two-views": TWO,
    "two-refined": replace(TWO, below=600),
    "two-rising-gamma": replace(TWO, gamma=Rise()),
    "two-chains": replace(TWO, two_chains=True),
    "two-paper": replace(TWO, two_chains=True, gamma=Rise(), below=1000),
    "two-known": Views(2, true_poses, known=True),
    "three-views": Views(3, found_poses),
    "three-known": Views(3, true_poses, known=True),
}
"""In the order of the table. two-views and three-views are the method: poses are found, then views are made with them."""


def gap_name(case: ViewCase) -> str:
    """The gap of azimuth between pictures 1 and 2, in words."""
    gap = math.degrees(abs(float(case.poses[0, 1])))
    low, high = next((g for g in GAPS if g[0] <= round(gap, 3) <= g[1]), GAPS[-1])
    return f"{low}-{high}"
