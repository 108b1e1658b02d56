"""The fuzzy balls and the oracle prior: pictures with the right signs, exact gradients, exact posterior means."""

import math

import pytest
import torch

from blindinv.priors.view import horizon, mean_of, noise_of
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera, orbit
from blindinv.views.oracle import OracleViews, snapshots


def ball(*centre: float, colour: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = 0.1) -> Blobs:
    return Blobs(torch.tensor([centre]), torch.tensor([radius]), torch.tensor([colour]))


def middle(picture: torch.Tensor) -> tuple[float, float]:
    """Column and row of the centre of mass of what is not white."""
    mass = 1 - picture[0].mean(0)
    at = torch.arange(len(mass)) + 0.5
    return float((mass.sum(0) * at).sum() / mass.sum()), float((mass.sum(1) * at).sum() / mass.sum())


def test_a_ball_lands_where_the_projection_says():
    camera = Camera.degrees([25], [40])
    point = torch.tensor([0.2, -0.1, 0.3])
    local = camera.opencv()[0] @ torch.cat([point, torch.ones(1)])
    u, v, w = (camera.intrinsics(64) @ local[:3]).tolist()
    assert middle(ball(*point.tolist(), radius=0.03).render(camera, 64)) == pytest.approx((u / w, v / w), abs=0.1)


def test_the_background_is_white_and_the_picture_in_range():
    picture = Blobs.random(0).render(orbit(5, elevation=30), 24)
    assert picture.min() >= 0 and picture.max() <= 1
    assert (ball(0, 0, 0).render(orbit(1), 24)[..., 0, 0] > 0.999).all()


def test_the_nearer_ball_hides_the_farther_one():
    pair = ball(0.3, 0, 0, colour=(1, 0, 0)).joined(ball(-0.3, 0, 0, colour=(0, 0, 1)))
    front, back = pair.render(Camera.degrees([0, 0], [0, 180]), 25)[:, :, 12, 12]
    assert front[0] > 0.9 and front[2] < 0.1 and back[2] > 0.9 and back[0] < 0.1


def test_turning_the_object_is_turning_the_camera_the_other_way():
    thing = Blobs.random(3)
    a = thing.turned(0.4).render(Camera.degrees([10], [30]), 24)
    b = thing.render(Camera.degrees([10], [30 - math.degrees(0.4)]), 24)
    torch.testing.assert_close(a, b, atol=2e-4, rtol=0)


def test_random_objects_look_different_from_every_side():
    for seed in range(5):
        pictures = Blobs.random(seed).render(orbit(8), 24).flatten(1)
        distance = torch.cdist(pictures, pictures) / pictures.shape[1] ** 0.5
        assert distance[~torch.eye(8, dtype=torch.bool)].min() > 0.03


def test_pictures_are_differentiable_in_the_pose():
    thing, pose = Blobs.random(1, 4), torch.tensor([[1.3, 0.4, 1.7]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: thing.render(Camera.of(p), 6), pose, atol=1e-4)


def test_the_oracle_sees_the_second_picture_from_the_second_camera():
    prior = snapshots(0)
    first, second = prior.pictures()
    cond = prior.condition(first[None], horizon(1, first))
    pose = prior.camera[1:].relative_to(prior.camera[:1])
    z = torch.randn(1, *first.shape)
    mean = mean_of(prior.eps(z, 500, cond, pose), z, prior.schedule.at(500))
    torch.testing.assert_close(prior.decode(mean)[0], second, atol=1e-4, rtol=0)


def test_the_noise_is_that_of_the_true_view():
    prior = snapshots(1)
    y, pose = prior.pictures(), prior.camera[1:].relative_to(prior.camera[:1])
    a, noise = prior.schedule.at(300), torch.randn(1, 3, 32, 32)
    z = a**0.5 * prior.encode(y[1:]) + (1 - a) ** 0.5 * noise
    eps = prior.eps(z, 300, prior.condition(y[:1], horizon(1, y)), pose)
    torch.testing.assert_close(eps, noise, atol=1e-4, rtol=0)


def test_an_unsure_oracle_has_the_posterior_mean_of_a_gaussian():
    sure, a = snapshots(1, size=8), snapshots(1).schedule.at(400)
    unsure = OracleViews(sure.thing, sure.camera, 8, width=0.1)
    y = sure.pictures()
    cond, pose = unsure.condition(y[:1], horizon(1, y)), torch.zeros(1, 3)
    x = unsure.encode(y[:1]) + 0.2 * torch.randn(40_000, 3, 8, 8)
    z = a**0.5 * x + (1 - a) ** 0.5 * torch.randn_like(x)
    mean = mean_of(unsure.eps(z, 400, cond, pose), z, a)
    error = (x - mean).square().mean()
    assert float(error) == pytest.approx(0.04 * (1 - a) / (0.04 * a + 1 - a), rel=0.02)  # the least there can be
    assert abs(float(((x - mean) * z).mean())) < 0.002  # and orthogonal to what was seen


def test_mean_and_noise_are_inverse():
    z, eps = torch.randn(2, 1, 3, 4, 4)
    torch.testing.assert_close(noise_of(mean_of(eps, z, 0.3), z, 0.3), eps)


def test_the_oracle_refuses_pictures_that_it_does_not_know():
    prior = snapshots(0)
    with pytest.raises(ValueError, match="only recognises"):
        prior.condition(torch.rand(1, 3, 32, 32), torch.zeros(1))


@pytest.mark.parametrize("component", range(3))
def test_eps_depends_on_every_component_of_the_pose(component):
    prior = snapshots(2)
    y = prior.pictures()
    cond, pose = prior.condition(y[:1], horizon(1, y)), torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(prior.eps(torch.randn(1, 3, 32, 32), 500, cond, pose).square().sum(), pose)
    assert gradient[0, component].abs() > 1e-3


def test_conditions_are_repeated_in_rows_and_selected():
    prior = snapshots(0, count=3)
    y = prior.pictures()
    cond = prior.condition(y, torch.tensor([0.1, 0.2, 0.3]))
    assert cond.repeated(2).polar.tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    torch.testing.assert_close(cond.repeated(2).features["camera"][4], prior.camera.pose[2])
    torch.testing.assert_close(cond[1:].features["camera"], prior.camera.pose[1:])
    assert len(cond[1:]) == 2 and cond.at(torch.zeros(3)).polar.sum() == 0
