"""The height of the first camera, under an oracle that knows up from down, and one that does not."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from blindinv import reconstruct
from blindinv.priors.view import Condition, noise_of
from blindinv.views.camera import Camera, camera_error
from blindinv.views.heights import COARSE, HEIGHTS, USUAL, at_height, evaluations, find_height, knows_up
from blindinv.views.oracle import OracleViews, snapshots
from blindinv.views.search import Pair, Search


@dataclass(frozen=True, eq=False)
class Upright(OracleViews):
    """Believes what it is told of the height of its input, and knows the rest."""

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        seen = torch.cat([cond.polar[:, None], cond.features["camera"][:, 1:]], 1)
        m = self.encode(self.thing.render(Camera.of(seen + pose), self.size))
        return noise_of(m, z, self.schedule.at(t))


def upright(seed: int, elevation: float, count: int = 2) -> Upright:
    """The first camera is at an elevation in degrees."""
    flat = snapshots(seed, count, 16, spread=0.4)
    pose = flat.camera.pose.clone()
    pose[0, 0] = math.radians(90 - elevation)
    return Upright(flat.thing, Camera.of(pose), 16)


def pair(prior: OracleViews) -> Pair:
    return Pair.of(prior, prior.pictures()[:2], torch.tensor(math.radians(70)))


@pytest.mark.parametrize("elevation", [-4.0, 12.0, 33.0])
def test_the_height_is_found(elevation):
    found = find_height(pair(upright(3, elevation)))
    assert found.degrees == pytest.approx(elevation, abs=8) and found.candidates == HEIGHTS
    nearest = min(HEIGHTS, key=lambda h: abs(h - elevation))
    assert HEIGHTS[min(range(4), key=found.losses.__getitem__)] == nearest


def test_who_knows_up():
    assert knows_up(pair(upright(1, 10.0))) and not knows_up(pair(snapshots(1, 2, 16)))


def test_without_evidence_it_is_the_usual_one():
    found = find_height(pair(snapshots(1, 2, 16)), search=replace(COARSE, steps=2))
    assert found.degrees == pytest.approx(USUAL, abs=3) and max(found.losses) == pytest.approx(min(found.losses), rel=1e-2)


def test_only_the_belief_changes():
    there = at_height(pair(upright(1, 10.0)), 35.0)
    assert (90 - torch.rad2deg(there.cond.polar)).tolist() == pytest.approx([35, 35], abs=1e-4)
    assert torch.equal(there.cond.features["camera"], pair(upright(1, 10.0)).cond.features["camera"])


def test_reconstruct_asks_only_where_there_is_an_answer():
    quick = dict(search=Search(azimuths=6, steps=9, keep=3, draws=1), steps=4)
    stages, prior = [], upright(3, 33.0)
    found = reconstruct(prior.pictures(), prior=prior, record=stages.append, **quick)
    heights = [s for s in stages if s.name == "height"]
    assert [s.step for s in heights] == list(range(1, evaluations(COARSE, 32) + 1)) and heights[-1].total == len(heights)
    assert found.elevation is not None and found.elevation.degrees == pytest.approx(33, abs=8)
    assert 90 - math.degrees(float(found.inputs.polar[0])) == pytest.approx(found.elevation.degrees, abs=1e-3)
    assert (90 - torch.rad2deg(found.camera.polar)).tolist() == pytest.approx([found.elevation.degrees] * 16, abs=1e-3)
    told = reconstruct(prior.pictures(), prior=prior, elevation=33.0, **quick)
    turn = prior.camera.pose[0] - told.inputs.pose[0]
    assert told.elevation is None and camera_error(told.inputs.moved(turn), prior.camera).max() < 2
    flat = snapshots(3, 2, 16)
    assert reconstruct(flat.pictures(), prior=flat, **quick).elevation is None
    alone = reconstruct(prior.pictures()[:1], prior=prior, steps=2)
    assert alone.elevation is None and float(alone.inputs.polar[0]) == pytest.approx(math.radians(90 - USUAL))
