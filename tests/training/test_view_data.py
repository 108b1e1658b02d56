"""Shards of pictures: resumed bit for bit, drawn in pairs that belong together."""

import math

import pytest
import torch

from blindinv.training import view_data
from blindinv.training.view_data import Shards, random_cameras, render_dataset, sample


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(view_data, "SHARD", 2)
    render_dataset(tmp_path, 5, 4, 16)
    return tmp_path


def test_shards_hold_the_objects_of_their_seeds_in_order(small):
    shards = Shards.open(small)
    assert [len(p) for p in shards.pose] == [2, 2, 1] and (len(shards), shards.views, shards.size) == (5, 4, 16)
    pictures, pose = shards.views_of(torch.arange(5), torch.arange(4).expand(5, 4))
    for seed in range(5):
        expected, camera = sample(seed, 4, 16)
        torch.testing.assert_close(pictures[seed], expected.float() / 255, atol=0, rtol=0)
        torch.testing.assert_close(pose[seed], camera, atol=0, rtol=0)


def test_what_is_there_is_kept_and_what_is_missing_is_made_again(small):
    files = sorted(small.iterdir())
    before = {f.name: f.read_bytes() for f in files}
    stamps = {f.name: f.stat().st_mtime_ns for f in files}
    files[1].unlink()
    seen = []
    render_dataset(small, 5, 4, 16, report=lambda done, total: seen.append((done, total)))
    assert {f.name: f.read_bytes() for f in small.iterdir()} == before
    assert seen == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert all(f.stat().st_mtime_ns == stamps[f.name] for f in (files[0], files[2]))


def test_other_settings_in_the_same_folder_are_refused(small):
    with pytest.raises(ValueError, match="was made with"):
        render_dataset(small, 5, 4, 24)
    with pytest.raises(ValueError, match="was made with"):
        render_dataset(small, 5, 4, 16, family="tilted")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="no shards"):
        Shards.open(tmp_path)


def test_what_is_drawn_are_different_views_of_one_object_with_their_poses(small):
    shards = Shards.open(small)
    everything = {}
    pictures, pose = shards.views_of(torch.arange(5), torch.arange(4).expand(5, 4))
    for i in range(5):
        for v in range(4):
            everything[tuple(pose[i, v].tolist())] = (i, pictures[i, v, :3])
    pictures, pose = shards.draw(40, 3, torch.Generator().manual_seed(0))
    assert pictures.shape == (40, 3, 4, 16, 16) and pose.shape == (40, 3, 3)
    drawn = set()
    for of, at in zip(pictures, pose, strict=True):
        known = [everything[tuple(p.tolist())] for p in at]
        assert len({i for i, _ in known}) == 1 and len({tuple(p.tolist()) for p in at}) == 3
        assert all(torch.equal(x[:3], y) for x, (_, y) in zip(of, known, strict=True))
        drawn.add(known[0][0])
    assert drawn == set(range(5))


def test_the_same_generator_draws_the_same_views(small):
    a, b = (Shards.open(small).draw(6, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_cameras_are_all_around_and_at_the_elevations_promised():
    camera = random_cameras(4000, torch.Generator().manual_seed(0))
    elevation = 90 - torch.rad2deg(camera.polar)
    assert -15 <= elevation.min() < -14 and 49 < elevation.max() <= 50
    assert camera.radius.min() >= 1.7 and camera.radius.max() <= 2.0
    quarters = torch.histc(camera.azimuth, 4, -math.pi, math.pi) / 4000
    assert (quarters - 0.25).abs().max() < 0.03
