"""The view prior with geometry built in."""

import math

import pytest
import torch

from blindinv.priors.lifted import BOUND, between, project
from blindinv.priors.view import mean_of
from blindinv.views.camera import Camera
from blindinv.zoo.shipped import load_shipped
from blindinv.zoo.unet import lifted_views

SMALL = dict(size=32, encoder=(16, 16), channels=(16, 16), features=16, seen=8, code=8, samples=8)


def cameras(count=3, seed=0):
    u = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    return Camera(1.0 + u[:, 0], 6.28 * u[:, 1], 1.7 + 0.3 * u[:, 2])


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    model = lifted_views(load_shipped("photos").autoencoder, **SMALL).requires_grad_(False).eval()
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    return model


def test_points_are_in_the_sphere_of_the_object_and_rays_that_miss_have_no_length():
    points, length = between(cameras(), 16, 8)
    met = length > 0
    assert met.float().mean() > 0.3
    assert (points[met].norm(dim=-1) < BOUND).all()
    assert (~met).any() and (points[~met].norm(dim=-1) > 0.99 * BOUND).all()
    edges = points[met][:, -1] - points[met][:, 0]
    torch.testing.assert_close(edges.norm(dim=-1), 7 * length[met])


def test_a_camera_sees_the_points_of_its_own_rays_in_their_pixels():
    camera, size = cameras(), 12
    plane, local = project(between(camera, size, 5)[0], camera)
    at = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    expected = torch.stack([x, y], -1).flatten(0, 1)[None, :, None].expand_as(plane)
    torch.testing.assert_close(plane, expected, atol=1e-5, rtol=0)
    assert (local[..., 2].diff(dim=-1) >= 0).all()


def test_right_and_up_of_a_camera_are_those_of_the_picture():
    camera = Camera(torch.tensor([math.pi / 2]), torch.zeros(1), torch.tensor([1.8]))
    plane, _ = project(torch.tensor([[[[0.0, 0.3, 0.0], [0.0, 0.0, 0.3], [0.5, 0.0, 0.0]]]]), camera)
    right, up, near = plane[0, 0]
    assert right[0] > 0 and abs(right[1]) < 1e-6 and up[1] < 0 and abs(up[0]) < 1e-6 and near.abs().max() < 1e-6


def test_without_a_correction_it_is_the_posterior_mean_of_a_gaussian(prior):
    """z_0 ~ N(b, s^2): E[z_0 | z_t] = b + sqrt(a) s^2 / (a s^2 + 1 - a) (z_t - sqrt(a) b)."""
    model = lifted_views(prior.autoencoder, **SMALL)  # the last convolution of its denoiser is zero
    model.spread.fill_(0.7)
    image, z = torch.rand(2, 3, 32, 32), torch.randn(2, 8, 8, 8)
    cond, pose = model.condition(image, torch.tensor([1.2, 1.5])), torch.tensor([[0.1, 0.5, 0.0], [0.0, -2.0, 0.1]])
    with torch.no_grad():
        b, _ = model.guess(model.look(cond.features["features"], cond.polar, pose)[0])
        a = model.schedule.at(400)
        mean = mean_of(model.eps(z, 400, cond, pose), z, a)
    expected = b + a**0.5 * 0.49 / (a * 0.49 + 1 - a) * (z - a**0.5 * b)
    torch.testing.assert_close(mean, expected, atol=1e-4, rtol=1e-4)


def test_the_gradient_in_the_pose_and_in_the_polar_angle_is_that_of_differences(prior):
    image, z = torch.rand(1, 3, 32, 32), torch.randn(1, 8, 8, 8)
    features = prior.double().features(2 * image.double() - 1)
    g = torch.randn(1, 9 * 4, 8, 8, dtype=torch.float64)

    def value(v):
        return (prior.look(features, v[None, 0], v[None, 1:])[0] * g).sum()

    at = torch.tensor([1.3, 0.13, 0.71, 0.05], dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(value, at)
    h = 1e-6 * torch.eye(4, dtype=torch.float64)
    differences = torch.stack([(value(at + d) - value(at - d)) / 2e-6 for d in h])
    prior.float()
    assert (exact.abs() > 1e-3).all()
    torch.testing.assert_close(exact, differences, rtol=1e-3, atol=1e-4)
    assert z.shape == prior.shape(tuple(image.shape))


def test_guidance_leads_from_nothing_to_the_condition(prior):
    image, z = torch.rand(1, 3, 32, 32), torch.randn(1, 8, 8, 8)
    cond, pose = prior.condition(image, torch.tensor([1.4])), torch.tensor([[0.0, 1.0, 0.0]])
    zero, one, three = (prior.eps(z, 300, cond, pose, g) for g in (0.0, 1.0, 3.0))
    torch.testing.assert_close(three - zero, 3 * (one - zero), atol=1e-4, rtol=1e-3)
    other = prior.condition(torch.rand(1, 3, 32, 32), torch.tensor([1.4]))
    torch.testing.assert_close(prior.eps(z, 300, other, pose, 0.0), zero, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(prior.eps(z, 300, other, pose), one, atol=1e-3)


def test_the_azimuth_is_periodic_and_batches_do_not_mix(prior):
    image, z = torch.rand(2, 3, 32, 32), torch.randn(2, 8, 8, 8)
    cond, pose = prior.condition(image, torch.tensor([1.4, 1.6])), torch.tensor([[0.0, 1.0, 0.0], [0.1, -0.5, 0.1]])
    both = prior.eps(z, 300, cond, pose)
    turned = prior.eps(z, 300, cond, pose + torch.tensor([0.0, 2 * math.pi, 0.0]))
    torch.testing.assert_close(both, turned, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(both[1:], prior.eps(z[1:], 300, cond[1:], pose[1:]), atol=1e-4, rtol=1e-3)


def test_rays_that_miss_the_sphere_see_nothing_and_others_do_not_notice(prior):
    camera = cameras(2)
    features = torch.randn(2, 16, 16, 16)
    seen, covered = prior.lift(features, camera, camera, 16)
    missed = (between(camera, 16, 8)[1] == 0).view(2, 16, 16)
    assert missed.any() and not missed.all()
    assert not seen.transpose(0, 1)[:, missed].any() and not covered[:, 0][missed].any()
    assert (covered[:, 0][~missed] > 0).all()
    alone = prior.lift(features[:1], camera[:1], camera[:1], 16)
    torch.testing.assert_close(seen[:1], alone[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(covered[:1], alone[1], atol=1e-6, rtol=0)


def test_views_are_looked_at_once_for_all_levels_of_noise_and_anew_for_gradients(prior, monkeypatch):
    looks, look = [], prior.look
    monkeypatch.setattr(prior, "look", lambda *of: looks.append(len(of[0])) or look(*of))
    cond = prior.condition(torch.rand(2, 3, 32, 32), torch.tensor([1.2, 1.4]))
    z, pose = torch.randn(2, *prior.shape((2, 3, 32, 32))[1:]), torch.tensor([[0.1, 0.7, 0.0], [-0.2, 2.0, 0.1]])
    first = prior.eps(z, 700, cond, pose)
    assert torch.equal(prior.eps(z, 700, cond, pose), first) and looks == [2]
    prior.eps(z, 300, cond, pose)
    assert looks == [2]
    moved = pose + 0.1
    assert not torch.equal(prior.eps(z, 700, cond, moved), first) and looks == [2, 2]
    assert not torch.equal(prior.eps(z, 700, cond.at(cond.polar + 0.1), pose), first) and looks == [2, 2, 2]
    leaf = pose.clone().requires_grad_()
    again = prior.eps(z, 700, cond, leaf)
    torch.testing.assert_close(again, first)
    assert looks == [2] * 4 and torch.autograd.grad(again.sum(), leaf)[0].abs().sum() > 0
    for i in range(20):
        prior.eps(z, 700, cond, pose + i)
    assert len(prior._known) == 8


def test_new_weights_make_it_forget_what_it_knew(prior):
    """An answer that was looked up with the old weights is not given for the new ones."""
    model = lifted_views(prior.autoencoder, **SMALL).requires_grad_(False).eval()
    cond, pose, z = (
        prior.condition(torch.rand(1, 3, 32, 32), torch.tensor([1.4])),
        torch.tensor([[0.0, 1.0, 0.0]]),
        torch.randn(1, 8, 8, 8),
    )
    before = model.eps(z, 300, cond, pose)
    model.load_state_dict(prior.state_dict())
    torch.testing.assert_close(model.eps(z, 300, cond, pose), prior.eps(z, 300, cond, pose))
    assert not torch.allclose(before, prior.eps(z, 300, cond, pose))
