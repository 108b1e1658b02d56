"""Surfaces from views: the identities of volume rendering, and solids whose views are known are found again."""

import math

import pytest
import torch

from blindinv.views.camera import Camera
from blindinv.views.masks import masks_from_white
from blindinv.views.surface import Fit, Surface, fit_surface, sphere
from blindinv.views.volume import crossing, even, refined, sampled, weights

QUICK = Fit((24,), (120,), (2e-2,), rays=512, samples=32, fine=16, sharpness=(30.0, 150.0))


def ball(radius: float = 0.5, resolution: int = 48) -> Surface:
    """Red above, blue below."""
    sdf = sphere(resolution, 0.7, radius, torch.zeros(()))
    z = torch.linspace(-0.7, 0.7, resolution).expand(1, 1, resolution, resolution, resolution)
    return Surface(sdf, torch.cat([40 * z, 0 * z - 9, -40 * z], 1), 0.7, 300.0)


def around(count: int = 12) -> Camera:
    return Camera.degrees([(-20.0, 15.0, 50.0)[i % 3] for i in range(count)], [360 / count * i for i in range(count)])


def test_trilinear_values_are_exact_for_linear_fields():
    at = torch.linspace(-0.7, 0.7, 9)
    x, y, z = torch.meshgrid(at, at, at, indexing="ij")
    grid = torch.stack([x, 2 * y - z])[None]
    points = (torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 0.7
    expected = torch.stack([points[:, 0], 2 * points[:, 1] - points[:, 2]], -1)
    torch.testing.assert_close(sampled(grid, points, 0.7), expected, atol=1e-5, rtol=0)


def test_rays_cross_the_cube_where_they_should():
    origin = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 0.9, 0.0]])
    direction = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    near, far, hit = crossing(origin, direction, 0.7)
    assert hit.tolist() == [True, False, False]
    torch.testing.assert_close(near[0], torch.tensor(1.3))
    torch.testing.assert_close(far[0], torch.tensor(2.7))


def test_weights_of_a_falling_distance_telescope():
    """With alpha_i = 1 - S(f_i+1) / S(f_i), what passes is S(f_end) / S(f_start); what rises stops nothing."""
    f = torch.linspace(0.2, -0.1, 40)[None]
    s = torch.sigmoid(30 * f)
    torch.testing.assert_close(weights(f, 30.0).sum(), 1 - s[0, -1] / s[0, 0], atol=1e-3, rtol=0)
    assert weights(f.flip(1), 30.0).max() == 0


def test_samples_gather_where_the_weight_is():
    near, far, middle = torch.tensor([1.0]), torch.tensor([2.0]), torch.full((1, 48), 0.5)
    depth = even(near, far, middle)
    weight = weights(1.5 - depth, 300.0)
    fine = refined(depth, weight, torch.full((1, 40), 0.5), explore=0.1)
    assert (fine.diff() >= 0).all() and fine.shape == (1, 42)
    assert ((fine - 1.5).abs() < 0.05).float().mean() > 0.8
    assert fine[0, 0] == depth[0, 0] and fine[0, -1] == depth[0, -1]


def test_a_ball_looks_like_a_ball():
    """Its outline is a circle: a camera at distance d sees the angle asin(r / d)."""
    camera, size = around(2), 64
    picture = ball().render(camera, size)
    _, direction = camera.rays(size)
    inside = torch.einsum("bhwi,bi->bhw", direction, -camera.axes()[..., 2]) > math.cos(math.asin(0.5 / 1.8))
    stopped = (picture.amin(1) < 0.5) == inside
    assert stopped.float().mean() > 0.99
    assert picture[0, 0, 18, 32] > 0.9 > 0.1 > picture[0, 2, 18, 32]  # red above
    assert picture[0, 2, 46, 32] > 0.9 > 0.1 > picture[0, 0, 46, 32]


def test_a_mesh_has_the_volume_and_the_colours_of_its_ball():
    mesh = ball().mesh()
    assert mesh.watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.01)
    top, bottom = mesh.vertices[:, 2] > 0.2, mesh.vertices[:, 2] < -0.2
    assert mesh.colours[top, 0].min() > 0.99 and mesh.colours[bottom, 0].max() < 0.01
    assert len(ball().mesh(24).vertices) < len(mesh.vertices)


def test_a_solid_that_leaves_the_cube_is_closed():
    assert ball(radius=0.8).mesh().watertight


def test_no_surface_is_said():
    empty = Surface(torch.ones(1, 1, 8, 8, 8), torch.zeros(1, 3, 8, 8, 8), 0.7, 100.0)
    with pytest.raises(ValueError, match="no surface"):
        empty.mesh()


def test_a_ball_is_found_from_its_views():
    camera = around()
    views = ball(0.55).render(camera, 48)
    *_, last = fit_surface(views, camera, None, QUICK)
    assert last.step == last.total == 120
    mesh = last.surface.mesh()
    radius = torch.from_numpy(mesh.vertices).norm(dim=-1)
    assert mesh.watertight
    assert (radius - 0.55).abs().mean() < 0.02  # a third of a cell
    assert mesh.colours[mesh.vertices[:, 2] > 0.2, 0].mean() > 0.85
    assert mesh.colours[mesh.vertices[:, 2] < -0.2, 2].mean() > 0.85
    new = Camera.degrees([0.0], [45.0])
    assert (last.surface.render(new, 48) - ball(0.55).render(new, 48)).abs().mean() < 0.03


def test_a_fit_is_repeatable_and_reports_every_iteration():
    camera = around(4)
    views = ball().render(camera, 24)
    short = Fit((12, 16), (3, 4), (1e-2, 5e-3), rays=64, samples=8, fine=4)
    a, b, c = (list(fit_surface(views, camera, None, short, seed)) for seed in (0, 0, 1))
    assert [f.step for f in a] == [1, 2, 3, 4, 5, 6, 7] and all(f.total == 7 for f in a)
    assert [f.surface is not None for f in a] == [False] * 6 + [True]
    assert a[-1].surface.sdf.shape[-1] == 16
    assert torch.equal(a[-1].surface.sdf, b[-1].surface.sdf)
    assert not torch.equal(a[-1].surface.sdf, c[-1].surface.sdf)


def test_wrong_cameras_are_corrected():
    """Each camera but the first is told 3 degrees to the side, this way or that."""
    camera = around(8)
    views = ball().render(camera, 32)
    off = torch.zeros(8, 3)
    off[:, 0] = torch.tensor([1.0, -1.0]).repeat(4) * math.radians(4)
    settings = Fit((20,), (150,), (1e-2,), rays=512, samples=24, fine=12, sharpness=(30.0, 120.0), pose_rate=4e-3)
    *_, last = fit_surface(views, camera.moved(off), None, settings)
    before, after = (off[:, 0] - off[:, 0].mean()).abs().mean(), (last.camera.polar - camera.polar).abs().mean()
    assert after < 0.6 * before


def test_masks_are_found_from_white_and_soft_at_edges():
    """Red paper on white: the share of red in a pixel is the mask; fully white pictures have none."""
    fine = torch.ones(1, 3, 96, 96)
    fine[:, 1:, 20:71, 25:77] = 0.1
    coverage = (fine[:, 1:2] < 0.5).float()
    views, truth = (torch.nn.functional.avg_pool2d(x, 3) for x in (fine, coverage))
    assert (masks_from_white(views) - truth).abs().max() < 0.02
    assert masks_from_white(torch.ones(1, 3, 8, 8)).sum() == 0


def test_soft_edges_of_blurred_views_are_halfway():
    """A blurred square is as large as the sharp one where its mask is one half."""
    sharp = torch.ones(1, 3, 48, 48)
    sharp[:, :2, 12:36, 12:36] = 0.2
    box = torch.full((3, 1, 7, 7), 1 / 49)
    views = torch.nn.functional.conv2d(torch.nn.functional.pad(sharp, (3,) * 4, value=1.0), box, groups=3)
    mask = masks_from_white(views, edge=5)
    assert (mask > 0.5)[0, 0, 24].float().sum() == 24
    assert (masks_from_white(views) > 0.5)[0, 0, 24].float().sum() > 26


def test_what_cannot_be_fitted_is_said():
    camera = around(2)
    with pytest.raises(ValueError, match="all of them are white"):
        next(fit_surface(torch.ones(2, 3, 8, 8), camera))
    with pytest.raises(ValueError, match="2 cameras need views"):
        next(fit_surface(torch.ones(3, 3, 8, 8), camera))
    with pytest.raises(ValueError, match="every level"):
        Fit((32, 64), (100,), (1e-2, 5e-3))
