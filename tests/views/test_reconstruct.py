"""`reconstruct` under the exact prior: cameras and views are found, in the world that the caller asked for."""

import math

import pytest
import torch

from blindinv import reconstruct
from blindinv.methods.posefree import posefree
from blindinv.protocols import generators
from blindinv.views.camera import Camera, camera_error, orbit
from blindinv.views.oracle import snapshots
from blindinv.views.reconstruct import Stage, around, evaluations
from blindinv.views.search import Search, find_poses

QUICK = Search(azimuths=6, steps=9, keep=3, draws=1)


@pytest.fixture(scope="module")
def found():
    """The oracle, what was found from two of its pictures, and the stages on the way."""
    prior, stages = snapshots(0, 2, 16), []
    elevation = 90 - math.degrees(float(prior.camera.polar[0]))
    targets = orbit(5, 10.0)
    result = reconstruct(
        prior.pictures(), prior=prior, elevation=elevation, targets=targets, search=QUICK, steps=15, record=stages.append
    )
    return prior, result, stages


def test_cameras_and_views_are_found(found):
    prior, result, _ = found
    turn = prior.camera.pose[0] - result.inputs.pose[0]  # to the oracle's world
    assert turn[0].abs() < 1e-5
    assert camera_error(result.inputs.moved(turn), prior.camera).max() < 2
    truth = prior.thing.render(result.camera.moved(turn), 16)
    assert (result.views - truth).abs().mean() < 0.01 and result.views.shape == (5, 3, 16, 16)
    assert len(result.hypotheses) == 1 and result.hypotheses[0].losses.diff().min() >= 0
    assert result.warnings == []


def test_the_first_camera_is_where_the_caller_says(found):
    prior, result, _ = found
    polar, azimuth, radius = result.inputs.pose[0].tolist()
    assert (polar, azimuth, radius) == pytest.approx((float(prior.camera.polar[0]), 0, 1.8), abs=1e-5)


def test_every_evaluation_of_the_search_and_every_step_is_heard(found):
    *_, stages = found
    searching, sampling = ([s for s in stages if s.name == name] for name in ("poses", "views"))
    total = evaluations(QUICK)
    assert searching == [Stage("poses", i + 1, total) for i in range(total)]
    assert sampling == [Stage("views", i + 1, 15) for i in range(15)]
    assert stages == searching + sampling


@pytest.mark.parametrize("below", [0, 600])
def test_it_is_the_search_and_then_em(below):
    prior, targets = snapshots(3, 3, 16), orbit(3)
    y = prior.pictures()
    result = reconstruct(y, prior=prior, elevation=0.0, targets=targets, search=QUICK, steps=4, seed=5, below=below)
    rankings = find_poses(y, prior, torch.tensor(math.pi / 2), QUICK, seed=5)
    for ours, theirs in zip(result.hypotheses, rankings, strict=True):
        assert torch.equal(ours.poses, theirs.poses) and torch.equal(ours.losses, theirs.losses)
    start = torch.stack([h.poses[0] for h in rankings])[None]
    relative = targets.relative_to(orbit(1))
    *_, last = posefree(y[None], prior, relative, start, guidance=1, steps=4, below=below, rng=generators(5, 1))
    assert torch.equal(result.inputs.pose[1:], orbit(1).moved(last.phi[0]).pose)
    assert torch.equal(last.phi, start) == (below == 0)
    assert torch.equal(result.views, last.x[0].clamp(0, 1))


def test_known_cameras_stay_and_need_no_search():
    prior, stages = snapshots(1, 2, 16), []
    result = reconstruct(prior.pictures(), prior=prior, cameras=prior.camera, steps=4, record=stages.append)
    torch.testing.assert_close(result.inputs.pose, prior.camera.pose)
    assert result.hypotheses == [] and {s.name for s in stages} == {"views"}
    assert len(result.views) == 16
    torch.testing.assert_close(result.views[0], prior.pictures()[0], atol=0.02, rtol=0)  # the ring begins at the first camera


def test_one_picture_is_single_view_sampling():
    prior = snapshots(2, 1, 16)
    result = reconstruct(prior.pictures(), prior=prior, elevation=5.0, targets=orbit(2, 5.0), steps=4)
    assert len(result.inputs) == 1 and result.hypotheses == [] and result.warnings == []
    torch.testing.assert_close(result.views[0], prior.pictures()[0], atol=0.02, rtol=0)


def test_transparent_is_white():
    prior = snapshots(1, 2, 16)
    y = prior.pictures()
    alpha = (y < 0.999).any(1, keepdim=True).float()
    rgba = torch.cat([y * alpha, alpha], 1)
    results = [reconstruct(p, prior=prior, cameras=prior.camera, steps=2) for p in (y, rgba)]
    torch.testing.assert_close(results[0].views, results[1].views, atol=1e-3, rtol=0)


def test_a_ring_from_straight_above_stays_a_ring():
    ring = around(Camera.degrees([89.9], [30.0]), 4)
    assert (90 - torch.rad2deg(ring.polar)).tolist() == pytest.approx([85] * 4, abs=1e-3)
    assert torch.rad2deg(ring.azimuth).tolist() == pytest.approx([30, 120, 210, 300], abs=1e-3)


@pytest.mark.parametrize(
    ("y", "cameras", "words"),
    [
        (torch.rand(2, 3, 8, 9), None, r"\(n, 3, S, S\)"),
        (torch.rand(0, 3, 8, 8), None, "n >= 1"),
        (torch.rand(2, 1, 8, 8), None, r"\(2, 1, 8, 8\)"),
        (torch.rand(2, 3, 8, 8), orbit(3), "3 cameras do not go with 2 pictures"),
    ],
)
def test_shapes_that_do_not_belong_together(y, cameras, words):
    with pytest.raises(ValueError, match=words):
        reconstruct(y, prior=snapshots(0, 2, 8), cameras=cameras)
