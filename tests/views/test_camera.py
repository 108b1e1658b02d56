"""Cameras: known matrices, signs as a person sees them, round trips, and what has no spherical pose."""

import json
import math

import pytest
import torch

from blindinv.views.camera import FOV, Camera, camera_error, from_transforms, orbit, rotation_between, transforms, wrapped


def some(count: int = 50, seed: int = 0) -> Camera:
    """Cameras from all sides, in float64."""
    u = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Camera.of(u * torch.tensor([math.pi, 2 * math.pi, 0.7]) + torch.tensor([0.0, -math.pi, 1.5]))


def project(camera: Camera, point: list[float], size: int = 100) -> tuple[float, float]:
    """Column and row of a world point, by world to camera and intrinsics, as OpenCV does."""
    local = camera.opencv()[0] @ torch.tensor([*point, 1.0]).to(camera.polar)
    u, v, w = camera.intrinsics(size).to(local) @ local[:3]
    return float(u / w), float(v / w)


def test_matrix_of_a_camera_on_the_x_axis():
    camera = Camera.degrees([0], [0], 2.0)
    expected = torch.tensor([[0.0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(camera.opengl()[0], expected, atol=1e-6, rtol=0)


def test_matrix_of_a_camera_above():
    camera = Camera.degrees([90], [0], 1.5)
    torch.testing.assert_close(camera.position[0], torch.tensor([0.0, 0.0, 1.5]), atol=1e-6, rtol=0)
    torch.testing.assert_close(camera.axes()[0, :, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_world_to_camera_of_opencv_puts_the_origin_ahead():
    camera = some()
    origin = camera.opencv() @ torch.tensor([0.0, 0, 0, 1]).double()
    ahead = torch.stack([0 * camera.radius, 0 * camera.radius, camera.radius, 1 + 0 * camera.radius], -1)
    torch.testing.assert_close(origin, ahead)


def test_axes_are_rotations():
    axes = some().axes()
    torch.testing.assert_close(axes.mT @ axes, torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(50).double())


def test_a_point_above_the_origin_is_above_in_the_picture():
    assert project(Camera.degrees([10], [70]), [0, 0, 0.3])[1] < 50
    assert project(Camera.degrees([10], [70]), [0, 0, 0.0]) == pytest.approx((50, 50), abs=1e-3)


@pytest.mark.parametrize(("by", "axis"), [([0.0, 0.1, 0.0], 0), ([-0.1, 0.0, 0.0], 1), ([0.0, 0.0, 0.1], 2)])
def test_each_component_moves_the_camera_to_its_right_up_and_away(by, axis):
    camera = some(8)
    step = camera.moved(torch.tensor(by).double()).position - camera.position
    along = (camera.axes().mT @ step[..., None])[..., 0]
    assert (along[:, axis] > 0).all()
    others = along[:, [i for i in range(3) if i != axis]].abs().amax(-1)
    assert (others < 0.06 * along[:, axis]).all()


def test_field_of_view_is_zero123s():
    assert math.degrees(FOV) == pytest.approx(49.134, abs=1e-3)
    edge = math.tan(FOV / 2) * 2.0  # half the width of what is seen at distance 2
    assert project(Camera.degrees([0], [0], 2.0), [0, edge, 0])[0] == pytest.approx(100, abs=1e-3)


def test_rays_and_projection_agree():
    camera, size = some(1, seed=3), 9
    origin, direction = camera.rays(size)
    for row, column in ((0, 0), (2, 7), (4, 4), (8, 1)):
        point = (origin[0] + 1.3 * direction[0, row, column]).tolist()
        assert project(camera, point, size) == pytest.approx((column + 0.5, row + 0.5), abs=1e-6)


def test_round_trips_through_both_matrices():
    camera = some()
    for back in (Camera.from_opengl(camera.opengl()), Camera.from_opencv(camera.opencv())):
        torch.testing.assert_close(back.relative_to(camera), torch.zeros(50, 3).double(), atol=1e-9, rtol=0)


def test_the_azimuth_survives_at_the_pole():
    camera = Camera.degrees([90, -90], [40, -100])
    torch.testing.assert_close(Camera.from_opengl(camera.opengl()).azimuth, camera.azimuth, atol=1e-5, rtol=0)


def test_round_trip_through_the_text_of_transforms_json():
    camera = some(6)
    names = [f"view_{i}.png" for i in range(6)]
    back, read = from_transforms(json.loads(json.dumps(transforms(camera, names, 64))))
    assert read == names and back.fov == camera.fov
    torch.testing.assert_close(back.relative_to(camera), torch.zeros(6, 3).double(), atol=1e-9, rtol=0)


def test_transforms_json_says_the_focal_length():
    content = transforms(Camera.degrees([0], [0]), ["a.png"], 64)
    assert content["fl_x"] == pytest.approx(64 * 35 / 32) and content["cx"] == 32


def test_relative_poses_undo_moves_and_take_the_short_way_round():
    camera, by = some(), some(seed=1).pose - torch.tensor([1.5, 0.0, 2.0])
    by[:, 1] = wrapped(by[:, 1])
    torch.testing.assert_close(camera.moved(by).relative_to(camera), by)
    turn = Camera.degrees([0], [-170]).relative_to(Camera.degrees([0], [170]))
    torch.testing.assert_close(torch.rad2deg(turn[0]), torch.tensor([0.0, 20.0, 0.0]), atol=1e-3, rtol=0)


def test_relative_poses_add_up_along_a_chain():
    a, b, c = some(seed=1), some(seed=2), some(seed=3)
    chain = b.relative_to(a) + c.relative_to(b) - c.relative_to(a)
    chain[:, 1] = wrapped(chain[:, 1])
    torch.testing.assert_close(chain, torch.zeros(50, 3).double(), atol=1e-9, rtol=0)


def test_error_of_a_turn_on_the_equator_and_of_a_tiny_one():
    a = Camera.degrees([0, 20], [10, 10])
    assert camera_error(a, Camera.degrees([0, 20.001], [40, 10])).tolist() == pytest.approx([30, 0.001], rel=1e-2)


def test_opposite_views_are_half_a_turn_apart():
    a = Camera.degrees([0], [0])
    assert float(rotation_between(a.axes(), Camera.degrees([0], [180]).axes())) == pytest.approx(math.pi)


def test_orbit_is_even():
    camera = orbit(8, elevation=20, start=5)
    steps = camera[1:].relative_to(camera[:-1])
    torch.testing.assert_close(torch.rad2deg(steps), torch.tensor([[0.0, 45.0, 0.0]]).expand(7, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("what", ["rolled", "turned away", "at the origin", "mirrored"])
def test_cameras_without_a_spherical_pose_are_refused(what):
    matrix = some(3).opengl()
    c, s = math.cos(0.1), math.sin(0.1)
    roll = torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).double()
    if what == "rolled":
        matrix[1] = matrix[1] @ roll
    elif what == "turned away":
        matrix[1] = matrix[1] @ roll[[0, 2, 1, 3]][:, [0, 2, 1, 3]]
    elif what == "at the origin":
        matrix[1, :3, 3] = 0
    else:
        matrix[1, :, 0] *= -1
    with pytest.raises(ValueError, match="camera 1 is turned by"):
        Camera.from_opengl(matrix)


def test_a_sloppy_camera_passes_where_that_is_allowed():
    camera = some(3)
    matrix = camera.opengl()
    c, s = math.cos(0.01), math.sin(0.01)
    matrix[1] = matrix[1] @ torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).double()
    assert float(Camera.from_opengl(matrix, tolerance=0.05).relative_to(camera).norm(dim=-1).max()) < 0.05


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="camera_angle_x"):
        from_transforms({"frames": []})
    with pytest.raises(ValueError, match="2 file names"):
        transforms(Camera.degrees([0], [0]), ["a", "b"], 8)
    with pytest.raises(ValueError, match="1 elevations"):
        Camera.degrees([0], [0, 1])


def test_matrices_are_differentiable_in_the_pose():
    pose = torch.tensor([[0.0, 0.3, 1.8], [1.2, -2.0, 1.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: Camera.of(p).opengl(), pose)
