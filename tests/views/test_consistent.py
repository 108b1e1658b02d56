"""The E-step: its weights, that gamma = 0 is sampling from one picture bit for bit, and both of its forms."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindinv.methods.posefree import posefree
from blindinv.priors.view import Condition, horizon, mean_of
from blindinv.protocols import Estimate, generators, randn
from blindinv.schedule import Schedule
from blindinv.step import DDIM, DDPM
from blindinv.views.blobs import Blobs
from blindinv.views.camera import orbit
from blindinv.views.consistent import Chains, Consistent, FirstView, Fused, Rise, even, mixed, model_error, view_weights
from blindinv.views.oracle import OracleViews, snapshots
from blindinv.views.scene import Scene

TARGETS = orbit(3).relative_to(orbit(3)[:1])


def scene_of(prior, count: int = 2, batch: int = 1, **options) -> tuple[Tensor, Tensor, Scene]:
    """Pictures (B, n, 3, H, W), true poses and the scene."""
    y = prior.pictures()[None, :count].expand(batch, -1, -1, -1, -1)
    phi = prior.camera[1:count].relative_to(prior.camera[:1]).expand(batch, -1, -1)
    return y, phi, Scene.of(prior, y, TARGETS, prior.camera.polar[:1].expand(batch), **options)


class Doubtful(OracleViews):
    """Only what the picture itself shows is right; the farther away, the whiter: pictures disagree, as with real priors."""

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        a = self.schedule.at(t)
        trust = (-pose[:, :2].square().sum(-1)).exp()[:, None, None, None]
        m = mean_of(super().eps(z, t, cond, pose), z, a)
        return (z - a**0.5 * (guidance * (trust * m + 1 - trust) + (1 - guidance))) / (1 - a) ** 0.5


def doubtful(seed: int = 0, count: int = 2) -> Doubtful:
    exact = snapshots(seed, count, size=12)
    return Doubtful(exact.thing, exact.camera, 12)


def sample(prior, count: int = 2, batch: int = 1, seed: int = 0, steps: int = 12, **options):
    y, phi, _ = scene_of(prior, count, batch)
    phi = options.pop("poses", phi)
    rng = generators(seed, batch)
    return list(posefree(y, prior, TARGETS, phi, polar=prior.camera.polar[0], steps=steps, rng=rng, **options))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.37, 0.5])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_weights_are_those_of_a_product_of_gaussians(gamma, count):
    beta, nu2 = 0.01, math.inf if gamma == 0 else 0.01 * (1 / gamma - 2)
    precision = torch.tensor([1 / beta] + [1 / (beta + nu2)] * (count - 1), dtype=torch.float64)
    expected = (precision / precision.sum()).tolist()
    assert view_weights(gamma, count) == pytest.approx(expected, abs=1e-12)


def test_two_pictures_have_the_weights_of_eq_25():
    assert view_weights(0.3, 2) == pytest.approx([0.7, 0.3])


def test_gamma_of_the_model_error():
    betas = torch.linspace(1e-4, 0.02, 1000)
    assert model_error(betas, lambda t: 0.0)(500) == 0.5
    assert model_error(betas, lambda t: 1.0)(500) == pytest.approx(float(betas[500]) / (2 * float(betas[500]) + 1))


def test_gamma_rises_from_nothing_to_a_half():
    values = [Rise()(t) for t in range(999, -1, -1)]
    assert values[0] == 0 and values[-1] == 0.5 and values == sorted(values)


@pytest.mark.parametrize("gamma", [-0.1, 0.6])
def test_impossible_gammas_are_refused(gamma):
    with pytest.raises(ValueError, match="from 0"):
        view_weights(gamma, 2)


def test_means_and_scores_are_mixed_alike():
    """The loop mixes means; eq. 25 mixes scores. At one z_t that is the same."""
    prior = doubtful()
    _, phi, scene = scene_of(prior)
    z, t = torch.randn(1, 1, 3, 3, 12, 12), 400
    means = FirstView(scene).denoise(z, t)
    e = Estimate(t, prior.schedule.at(t), z, means, means[:, 0], z, phi, z)
    out = Consistent(scene, lambda t: 0.3)(e).z0[:, 0]
    scores = 0.7 * scene.eps(z[:, 0], t, 0, phi) + 0.3 * scene.eps(z[:, 0], t, 1, phi)
    torch.testing.assert_close(out, mean_of(scores, z[:, 0], prior.schedule.at(t)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("step", [DDIM(), DDIM(1.0), DDPM()])
def test_gamma_zero_is_the_first_picture_alone_bit_for_bit(step):
    """Against sampling written out by hand with the prior alone: no scene, no guidance, no loop of the package."""
    prior = doubtful()
    y, _, _ = scene_of(prior)
    rng = generators(0, 1)
    times = prior.schedule.timesteps(10)
    cond = prior.condition(y[0, :1], prior.camera.polar[:1]).repeated(3)
    z = randn((1, 1, 3, 3, 12, 12), rng)
    for i, t in enumerate(times):
        flat = z[0, 0]
        mean = mean_of(prior.eps(flat, t, cond, TARGETS, 3.0), flat, prior.schedule.at(t))[None, None]
        s = times[i + 1] if i + 1 < len(times) else -1
        z = step(prior.schedule, z, mean, t, s, randn(tuple(z.shape), rng))
    last = sample(prior, steps=10, gamma=lambda t: 0.0, step=step)[-1]
    assert torch.equal(last.x, prior.decode(mean[:, 0]))


def test_gamma_zero_costs_what_one_picture_costs():
    calls = []

    class Counting(Doubtful):
        def eps(self, z, t, cond, pose, guidance=1.0):
            calls.append(len(z))
            return super().eps(z, t, cond, pose, guidance)

    exact = snapshots(0, size=12)
    sample(Counting(exact.thing, exact.camera, 12), steps=5, gamma=lambda t: 0.0, known=True)
    assert sum(calls) == 5 * 3


def test_one_picture_is_the_first_view():
    prior = doubtful()
    alone = sample(prior, count=1)
    zero = sample(prior, count=2, gamma=lambda t: 0.0)
    assert torch.equal(alone[-1].x, zero[-1].x)
    assert alone[-1].phi.shape == (1, 0, 3)


@pytest.mark.parametrize("two_chains", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_a_perfect_prior_with_true_poses_gives_the_true_views(two_chains, count):
    prior = snapshots(1, count, size=12)
    last = sample(prior, count, known=True, two_chains=two_chains)[-1]
    truth = prior.thing.render(prior.camera[[0] * 3].moved(TARGETS), 12)
    torch.testing.assert_close(last.x[0], truth, atol=1e-3, rtol=0)


def test_a_second_picture_with_its_true_pose_helps_where_the_first_is_in_doubt():
    errors = {}
    for gamma in (0.0, 0.5):
        prior = Doubtful(Blobs.random(5), orbit(2), 12)  # front and back
        views = orbit(2)[1:].relative_to(orbit(2)[:1])
        y = prior.pictures()[None]
        out = list(posefree(y, prior, views, views[None], steps=12, gamma=lambda t, g=gamma: g, known=True, guidance=1.0))
        errors[gamma] = float((out[-1].x[0] - y[0, 1:]).square().mean())
    assert errors[0.5] < 0.5 * errors[0.0]


def test_the_poses_of_other_pictures_are_taken_off_the_target():
    """Target T is seen from y_j at T - phi_j, and y_j's camera is at the polar angle of y_1's plus d_polar."""
    seen = {}

    class Spy(Doubtful):
        def eps(self, z, t, cond, pose, guidance=1.0):
            seen["pose"], seen["polar"] = pose, cond.polar
            return super().eps(z, t, cond, pose, guidance)

    exact = snapshots(2, size=12)
    prior = Spy(exact.thing, exact.camera, 12)
    _, phi, scene = scene_of(prior)
    scene.eps(torch.randn(1, 3, 3, 12, 12), 10, 1, phi)
    torch.testing.assert_close(seen["pose"], TARGETS - phi[0])
    torch.testing.assert_close(seen["polar"], prior.camera.polar[1:].expand(3))


def test_evaluations_in_pieces_are_the_same():
    prior = snapshots(3, 3, size=8)
    _, phi, scene = scene_of(prior, 3, batch=2)
    z = torch.randn(2, 3, 3, 8, 8)
    _, _, small = scene_of(prior, 3, batch=2, chunk=4)
    for j in range(3):
        torch.testing.assert_close(small.eps(z, 300, j, phi), scene.eps(z, 300, j, phi))


@pytest.mark.parametrize("two_chains", [False, True])
def test_objects_do_not_depend_on_their_batch_mates(two_chains):
    prior = doubtful()
    start = torch.tensor([[[0.1, 0.5, 0.0]], [[-0.2, 2.0, 0.1]]])
    both = sample(prior, batch=2, poses=start, two_chains=two_chains, steps=6)[-1]
    alone = sample(prior, batch=1, poses=start[:1], two_chains=two_chains, steps=6)[-1]
    torch.testing.assert_close(both.x[:1], alone.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(both.phi[:1], alone.phi, atol=1e-5, rtol=0)


def test_the_step_of_algorithm_2_mixes_the_first_chain_only():
    schedule, z, z0, noise = Schedule.scaled_linear(), *torch.randn(3, 1, 2, 1, 3, 4, 4)
    inner = DDPM()
    out = Fused(inner, lambda t: 0.25 if t == 400 else 0.5)(schedule, z, z0, 500, 400, noise)
    each = [inner(schedule, z[:, j], z0[:, j], 500, 400, noise[:, 0]) for j in range(2)]  # one noise for both
    torch.testing.assert_close(out[:, 0], 0.75 * each[0] + 0.25 * each[1])
    torch.testing.assert_close(out[:, 1], each[1])


def test_the_second_chain_is_told_by_the_second_picture():
    prior = doubtful()
    _, phi, scene = scene_of(prior)
    z, t = torch.randn(1, 2, 3, 3, 12, 12), 400
    first = FirstView(scene, 2).denoise(z, t)
    guided = Chains(scene)(Estimate(t, prior.schedule.at(t), z, first, first[:, 0], z, phi, z))
    torch.testing.assert_close(guided.z0[:, 1], scene.mean(z[:, 1], t, 1, phi))
    torch.testing.assert_close(guided.z0[:, 0], scene.mean(z[:, 0], t, 0, phi))


def test_both_forms_differ_where_pictures_disagree():
    prior = doubtful()
    shared, chains = (sample(prior, known=True, two_chains=b)[-1].x for b in (False, True))
    assert (shared - chains).abs().max() > 0.01


def test_one_part_of_weight_one_comes_out_bit_for_bit():
    part = torch.randn(5)
    assert torch.equal(mixed([part, None], [1.0, 0.0]), part)


def test_only_the_last_step_shows_pictures():
    steps = sample(snapshots(0, size=8), steps=4)
    assert [p.x is not None for p in steps] == [False, False, False, True]
    assert steps[-1].x.shape == (1, 3, 3, 8, 8)


@pytest.mark.parametrize(
    ("y", "targets", "poses", "message"),
    [
        ((2, 3, 8, 8), (1, 3), (1, 1, 3), "y must be"),
        ((1, 2, 3, 8, 8), (0, 3), (1, 1, 3), "targets must be"),
        ((1, 2, 3, 8, 8), (1, 3), (1, 2, 3), "poses must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(y, targets, poses, message):
    with pytest.raises(ValueError, match=message):
        next(posefree(torch.zeros(y), snapshots(0), torch.zeros(targets), torch.zeros(poses)))


def test_the_horizon_is_at_the_height_of_the_object():
    assert horizon(2, torch.zeros(1)).tolist() == pytest.approx([math.pi / 2] * 2)


def test_all_pictures_count_alike_unless_annealing_is_asked_for():
    prior = replace(snapshots(3, 2, 16), width=0.2)
    y, targets = prior.pictures()[None], orbit(3).relative_to(orbit(3)[:1])
    pose = prior.camera[1:].relative_to(prior.camera[:1])[None] + 0.2

    def views(**options):
        *_, last = posefree(y, prior, targets, pose, polar=prior.camera.polar[0], steps=8, known=True, **options)
        return last.x

    torch.testing.assert_close(views(), views(gamma=even), rtol=0, atol=0)
    assert not torch.allclose(views(), views(gamma=Rise()), atol=1e-3)
