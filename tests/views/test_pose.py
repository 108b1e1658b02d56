"""The M-step and the search: eq. 26 as it is written, gradients and signs, and poses that are found under the exact prior."""

import math
from itertools import pairwise

import pytest
import torch

from blindinv.methods.posefree import posefree
from blindinv.mstep.pose import POLES, Aligned, Geometric, alignment, ddim_coefficient, rising, within
from blindinv.protocols import Estimate
from blindinv.step import DDIM
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera, camera_error, orbit
from blindinv.views.oracle import OracleViews, snapshots
from blindinv.views.recovery import recovery
from blindinv.views.scene import Scene
from blindinv.views.search import Hypotheses, Pair, Search, best, compare, descend, descent_batches, find_pose, find_poses, ranked

TARGETS = orbit(4).relative_to(orbit(4)[:1])


def problem(seed: int = 0, size: int = 16, count: int = 2):
    """The oracle, pictures (1, n, 3, H, W), true poses and the scene."""
    prior = snapshots(seed, count, size)
    y, phi = prior.pictures()[None], prior.camera[1:].relative_to(prior.camera[:1])[None]
    return prior, y, phi, Scene.of(prior, y, TARGETS, prior.camera.polar[:1])


def estimate(scene: Scene, phi: torch.Tensor, t: int, z: torch.Tensor | None = None) -> Estimate:
    z = torch.randn(1, 1, 4, 3, 16, 16) if z is None else z
    return Estimate(t, scene.prior.schedule.at(t), z, z, z[:, 0], z, phi, z)


@pytest.mark.parametrize("t", [900, 400, 40])
def test_the_loss_is_eq_26_over_the_squared_coefficient_of_the_step(t):
    """Eq. 26 literally: latents after one reverse step from one z_t, compared; no gradient trick but one known factor."""
    prior, _, phi, scene = problem()
    z, s, wrong = torch.randn(1, 4, 3, 16, 16), t - 20, phi + 0.2
    step = DDIM()

    def latent(eps):
        a = prior.schedule.at(t)
        return step(prior.schedule, z, (z - (1 - a) ** 0.5 * eps) / a**0.5, t, s, z)

    eps = [scene.eps(z, t, j, wrong) for j in range(2)]
    fused = 0.7 * eps[0] + 0.3 * scene.eps(z, t, 1, wrong + 0.1)
    lam, delta = 0.4, 1.0
    literal = lam * (latent(eps[1]) - latent(fused)).square() + delta * (latent(eps[1]) - latent(eps[0])).square()
    ours = alignment(eps[1], fused, eps[0], lam / delta) * (lam + delta) * ddim_coefficient(prior.schedule, t, s) ** 2
    torch.testing.assert_close(literal.flatten(1).mean(1), ours, rtol=2e-3, atol=0)


def test_the_loss_does_not_vanish_towards_the_end_nor_with_the_number_of_steps():
    """Literally, eq. 26 shrinks with the square of the length of a reverse step; ours has no step in it."""
    prior, _, phi, scene = problem()
    z = torch.randn(1, 4, 3, 16, 16)
    losses = []
    for t in (900, 500, 100, 0):
        eps = [scene.eps(z, t, j, phi + 0.2) for j in range(2)]
        losses.append(float(alignment(eps[1], eps[0], eps[0], 1.0)))
    assert losses == sorted(losses) and losses[0] > 0
    few, many = (ddim_coefficient(prior.schedule, 500, 500 - gap) for gap in (20, 1))
    assert 0 < many < few / 15


def test_the_references_are_held_fixed():
    eps, fused, first = (torch.randn(1, 2, 3, 4, 4, requires_grad=True) for _ in range(3))
    gradients = torch.autograd.grad(alignment(eps, fused, first, 0.5).sum(), [eps, fused, first], allow_unused=True)
    assert gradients[0].abs().sum() > 0 and gradients[1] is None and gradients[2] is None


@pytest.mark.parametrize("t", [800, 300, 20])
def test_the_loss_is_least_at_the_true_pose(t):
    _, _, phi, scene = problem()
    z = torch.randn(1, 4, 3, 16, 16)
    first = scene.eps(z, t, 0, phi)
    at = [float(alignment(scene.eps(z, t, 1, phi + d), first, first, 1.0)) for d in (0.0, 0.1, -0.1)]
    assert at[0] < 1e-4 * min(at[1:])


@pytest.mark.parametrize("component", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("t", [800, 20])
def test_every_component_moves_towards_the_truth_from_both_sides(component, sign, t):
    _, _, phi, scene = problem(seed=4)
    start = phi.clone()
    start[..., component] += sign * 0.1
    start = torch.cat([start[..., :2], start[..., 2:].clamp(-0.3, 0.3)], -1)
    m_step = Aligned(start, scene, rate=lambda t: 0.01, iterations=1, views=None, free_radius=1000)
    moved = (m_step.update(estimate(scene, start, t)) - start)[0, 0, component]
    assert float(moved) == pytest.approx(-sign * 0.01, rel=0.01)


def test_the_radius_waits():
    _, _, phi, scene = problem()
    start = phi + torch.tensor([0.1, 0.1, -float(phi[0, 0, 2])])
    early, late = (Aligned(start, scene).update(estimate(scene, start, t)) for t in (700, 300))
    assert early[0, 0, 2] == start[0, 0, 2] and late[0, 0, 2] != start[0, 0, 2]


def test_an_m_step_may_be_skipped_and_one_picture_has_none():
    _, y, phi, scene = problem()
    e = estimate(scene, phi + 0.1, 500)
    assert Aligned(phi, scene, active=lambda t: False).update(e) is e.phi
    alone = Scene.of(scene.prior, y[:, :1], TARGETS, scene.inputs[0].polar)
    none = estimate(alone, torch.zeros(1, 0, 3), 500)
    assert Aligned(none.phi, alone).update(none).shape == (1, 0, 3)


def test_every_target_gets_its_turn():
    _, _, phi, scene = problem()
    m_step = Aligned(phi, scene, views=2)
    turns = [m_step._chosen(t) for t in scene.prior.schedule.timesteps(50)]
    assert {len(set(turn)) for turn in turns} == {2} and set().union(*turns) == {0, 1, 2, 3}


def test_poses_stay_off_the_poles_and_within_reach():
    polar = torch.tensor([1.0])
    kept = within(torch.tensor([[-2.0, 5.0, 0.5], [2.5, 0.0, -0.5], [0.1, -1.0, 0.2]]), polar)
    assert (kept[:, 0] + 1).tolist() == pytest.approx([POLES[0], POLES[1], 1.1])
    assert kept[:, 1].tolist() == [5.0, 0.0, -1.0] and kept[:, 2].tolist() == pytest.approx([0.3, -0.3, 0.2])


def test_schedules():
    assert [rising(t) for t in (999, 0)] == [0, 1]
    rate = Geometric(0.05, 0.0005)
    assert rate(999) == pytest.approx(0.05) and rate(0) == pytest.approx(0.0005)
    assert rate(600) / rate(500) == pytest.approx(rate(300) / rate(200))


@pytest.mark.parametrize(("count", "two_chains"), [(2, False), (2, True), (3, False)])
def test_em_finds_poses_from_20_degrees_away(count, two_chains):
    """EM alone, without the search before it."""
    prior, y, phi, _ = problem(seed=7, count=count)
    start = phi + torch.tensor([math.radians(-10), math.radians(17), 0.0])
    *_, last = posefree(y, prior, TARGETS, start, polar=prior.camera.polar[0], steps=40, two_chains=two_chains)
    error = camera_error(prior.camera[[0] * (count - 1)].moved(last.phi[0]), prior.camera[1:])
    begin = camera_error(prior.camera[[0] * (count - 1)].moved(start[0]), prior.camera[1:])
    assert begin.min() > 10 and error.max() < 0.5
    assert (last.phi - phi)[..., 2].abs().max() < 0.01


def test_views_get_right_as_the_poses_do():
    """Under the oracle the first picture tells all; views are wrong only through wrong poses of the second."""
    prior, y, phi, _ = problem(seed=7)
    start = phi + torch.tensor([0.0, math.radians(20), 0.0])
    truth = prior.thing.render(prior.camera[[0] * 4].moved(TARGETS), 16)
    errors = {}
    for known in (False, True):  # known: the wrong poses are kept
        steps = posefree(y, prior, TARGETS, start, polar=prior.camera.polar[0], steps=20, known=known)
        *_, last = steps
        errors[known] = float((last.x[0] - truth).square().mean())
    assert errors[False] < 0.01 * errors[True]


def test_poses_are_recovered_with_the_default_search():
    """The quick version of `recovery()`, whose defaults are the 50 poses."""
    found = recovery(1, 4, size=16, steps=30, views=4, seed=20)
    assert float(found.searched.median()) < 1 and float(found.refined.median()) < 1
    assert float(found.radius.median()) < 0.02


def test_the_denoising_error_is_that_of_both_directions():
    prior, y, phi, _ = problem()
    pair = Pair.of(prior, y[0], prior.camera.polar[0])
    noise, t = torch.randn(3, 16, 16), 400
    a, pose = prior.schedule.at(t), phi[0] + 0.2
    expected = 0.0
    for source, target, by in ((0, 1, pose), (1, 0, -pose)):
        z = a**0.5 * prior.encode(y[0, target]) + (1 - a) ** 0.5 * noise
        eps = prior.eps(z[None], t, prior.condition(y[0, source][None], prior.camera.polar[:1]), by)
        expected = expected + (eps - noise).square().mean()
    torch.testing.assert_close(pair.error(pose, t, noise)[0], expected)


def test_the_way_back_knows_the_polar_angle_of_the_second_picture():
    seen = {}

    class Spy(OracleViews):
        def eps(self, z, t, cond, pose, guidance=1.0):
            seen["polar"], seen["pose"] = cond.polar, pose
            return super().eps(z, t, cond, pose, guidance)

    exact, y, phi, _ = problem()
    prior = Spy(exact.thing, exact.camera, 16)
    Pair.of(prior, y[0], exact.camera.polar[0]).error(phi[0], 400, torch.randn(3, 16, 16))
    torch.testing.assert_close(seen["polar"], exact.camera.polar)
    torch.testing.assert_close(seen["pose"], torch.cat([phi[0], -phi[0]]))


def test_all_candidates_meet_the_same_noise_in_pieces_too():
    prior, y, phi, _ = problem()
    poses = phi[0] + 0.1 * torch.arange(5)[:, None]
    together, pieces = (Pair.of(prior, y[0], prior.camera.polar[0], chunk) for chunk in (32, 4))
    losses = [compare(p, poses, Search(), torch.Generator().manual_seed(1)) for p in (together, pieces)]
    torch.testing.assert_close(*losses)
    again = compare(together, poses[[0, 0]], Search(), torch.Generator().manual_seed(1))
    assert again[0] == again[1]
    assert losses[0].argmin() == 0


def test_probes_go_round():
    probes = Search(azimuths=4, polars=(-0.5, 0.5)).probes()
    assert probes.shape == (8, 3)
    assert torch.rad2deg(probes[:4, 1]).tolist() == pytest.approx([0, 90, -180, -90], abs=1e-4)
    assert sorted(set(probes[:, 0].tolist())) == [-0.5, 0.5]


def test_the_prior_is_asked_as_often_as_is_said():
    prior, y, _, _ = problem()
    calls = []

    class Counted(OracleViews):
        def eps(self, z, t, cond, pose, guidance=1.0):
            calls.append(len(pose))
            return super().eps(z, t, cond, pose, guidance)

    pair = Pair.of(Counted(prior.thing, prior.camera, 16), y[0], prior.camera.polar[0], 8)
    search = Search(keep=3, steps=7, draws=2)
    descend(pair, search.probes()[:3], search, torch.Generator())
    assert len(calls) == descent_batches(search, 8) == 2 * (2 * 3 + 5 * 2) and max(calls) == 8


def test_a_pose_20_degrees_off_is_found_in_a_few_steps():
    """The loss is one of squares; Gauss-Newton needs no rate."""
    prior, y, phi, _ = problem(seed=7)
    start = phi[0] + torch.tensor([[math.radians(-10), math.radians(17), 0.1]])
    found = descend(Pair.of(prior, y[0], prior.camera.polar[0]), start, Search(steps=9, draws=1), torch.Generator())
    assert float(camera_error(prior.camera[:1].moved(found), prior.camera[1:])) < 0.5
    assert (found - phi[0])[0, 2].abs() < 0.02


def test_probes_of_one_valley_wait_for_those_of_others():
    poses = torch.deg2rad(torch.tensor([[0.0, 100, 0], [0, 0, 0], [0, 20, 0], [0, -90, 0]]))
    losses, polar = torch.tensor([4.0, 1, 2, 3]), torch.tensor([math.pi / 2])
    assert ranked(poses, losses, polar, 45).tolist() == [1, 3, 0, 2]
    assert ranked(poses, losses, polar, 0).tolist() == [1, 2, 3, 0]


def half_turn() -> OracleViews:
    """An object that is the same after half a turn, and two pictures of it from the same height."""
    half = Blobs.random(6, 6)
    return OracleViews(half.joined(half.turned(math.pi)), Camera.degrees([20, 20], [0, 70]), 16)


def test_a_symmetric_object_has_two_poses_and_a_warning():
    prior = half_turn()
    found = find_pose(Pair.of(prior, prior.pictures(), prior.camera.polar[0]))
    assert float(camera_error(prior.camera[[0, 0]].moved(found.poses[:2]), prior.camera[[1, 1]]).min()) < 1
    assert abs(abs(math.degrees(float(found.poses[0, 1] - found.poses[1, 1])) % 360) - 180) < 3
    assert found.margin < 0.05 and "180 degrees of azimuth" in (found.warning() or "")


def test_a_lopsided_object_has_one_pose_and_none():
    prior, y, _, _ = problem(seed=3)
    (found,) = find_poses(y[0], prior, prior.camera.polar[0])
    assert found.warning() is None and found.margin > 0.3
    assert found.losses.tolist() == sorted(found.losses.tolist())
    assert float(camera_error(prior.camera[:1].moved(found.poses[:1]), prior.camera[1:])) < 1
    torch.testing.assert_close(best([found], y), found.poses[None, :1])


def test_one_picture_has_no_pose_to_find():
    prior, y, _, _ = problem()
    assert find_poses(y[0, :1], prior) == []
    assert best([], y).shape == (1, 0, 3)


def test_the_margin_is_measured_against_a_wrong_pose():
    poses = torch.zeros(2, 3)
    found = Hypotheses(poses, torch.tensor([1.0, 1.2]), typical=2.0)
    assert found.margin == pytest.approx(0.2) and found.warning() is None and found.warning(0.3) is not None
    assert Hypotheses(poses[:1], torch.tensor([1.0]), 2.0).margin == math.inf
    assert Hypotheses(poses, torch.tensor([1.0, 1.2]), typical=0.5).margin == 0  # nothing is better than the probes


def test_m_steps_may_be_rarer_than_steps():
    prior, y, phi, _ = problem()
    steps = posefree(y, prior, TARGETS, phi + 0.1, polar=prior.camera.polar[0], steps=6, every=3)
    poses = [phi + 0.1, *(p.phi for p in steps)]
    assert [not torch.equal(a, b) for a, b in pairwise(poses)] == [True, False, False] * 2


def test_m_steps_may_wait_until_the_views_are_clear():
    prior, y, phi, _ = problem()
    steps = list(posefree(y, prior, TARGETS, phi + 0.1, polar=prior.camera.polar[0], steps=10, below=600))
    poses = [phi + 0.1, *(p.phi for p in steps)]
    moved = [not torch.equal(a, b) for a, b in pairwise(poses)]
    assert moved == [p.t < 600 for p in steps] and any(moved) and not all(moved)


def test_what_is_found_is_compared_at_the_noise_of_the_probes():
    """Else the median probe, and with it the margin, would be measured from another floor of noise."""
    things = snapshots(2, 2, 16)
    prior = OracleViews(things.thing, things.camera, 16, width=0.3)  # uncertain: its error has a floor that hangs on the noise
    pair, search = Pair.of(prior, prior.pictures(), prior.camera.polar[0]), Search(steps=0, draws=1, apart=0.0, merge=0.0)
    losses = compare(pair, search.probes(), search, torch.Generator().manual_seed(4))
    found = find_pose(pair, search, seed=4)
    torch.testing.assert_close(found.losses, losses.sort().values[: search.keep])
    assert found.typical == pytest.approx(float(losses.median()))
