"""The report on the priors of operators: what counts as valid, and what as a copy."""

import json

import pytest
import torch
from PIL import Image

from blindinv.benchmark.operator_priors import is_gaussian, likeness, main_part, nearest, operator_priors_report, validity
from blindinv.kernels.measure import normalize
from blindinv.kernels.mixture import kernel_bank, mixed_kernels, symmetries
from blindinv.priors.kernel_diffusion import KernelDiffusion
from blindinv.priors.tilt import TiltDiffusion
from blindinv.schedule import Schedule
from blindinv.training import tilt_prior
from blindinv.training.kernel_prior import KernelPriorRecipe
from blindinv.training.tilt_prior import TiltPriorRecipe


def blobs(*squares, size=32):
    k = torch.zeros(1, 1, size, size)
    for y, x, side, value in squares:
        k[..., y : y + side, x : x + side] = value
    return normalize(k)


def test_the_main_part_is_the_heaviest_connected_one():
    assert main_part(blobs((10, 10, 4, 1.0))[0]) == pytest.approx(1)
    two = blobs((5, 5, 4, 1.0), (20, 20, 2, 2.0))  # 16 and 8
    assert main_part(two[0]) == pytest.approx(2 / 3)
    assert main_part(blobs((5, 5, 4, 1.0), (9, 9, 2, 2.0))[0]) == pytest.approx(1)  # corners touch
    haze = normalize(two + 0.015 * two.max())  # below 2 % of the maximum counts as background
    assert main_part(haze[0]) < 0.6


def test_simulated_kernels_are_valid_and_broken_ones_are_not():
    assert validity(mixed_kernels(100, 64, torch.Generator().manual_seed(0))).valid >= 0.97
    broken = torch.cat([blobs((5, 5, 4, 1.0), (20, 20, 3, 1.0)), blobs((0, 8, 4, 1.0)), 2 * blobs((9, 9, 4, 1.0))])
    found = validity(torch.cat([broken, blobs((9, 9, 4, 1.0))]))
    assert (found.connected, found.inside, found.valid) == (0.75, 0.75, 0.25)


def test_a_turned_and_shifted_copy_is_found():
    bank = kernel_bank(300, 32, seed=0)
    for index, which in ((7, 3), (5, 5), (123, 6)):
        copy = normalize(symmetries(bank[index : index + 1].float(), torch.tensor([which])).roll((1, -1), (-2, -1)))
        value, where = nearest(copy, bank)
        assert where.tolist() == [index]
        assert value.item() == pytest.approx(1, abs=1e-5)
    fresh = normalize(kernel_bank(60, 32, seed=1).float())
    other = likeness(fresh, bank)
    same = likeness(normalize(bank[:60].float()), bank)
    assert same.median > 0.9999
    assert same.copies == 1
    assert other.median < 0.97
    assert other.copies < 0.5


def test_gaussians_are_told_from_motion():
    bank = kernel_bank(600, 32, seed=5)
    assert 0.1 < is_gaussian(bank).float().mean() < 0.25


def test_the_report_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tilt_prior, "FIT_MAPS", 40)
    kernel, _ = KernelPriorRecipe(size=16, channels=(16, 16), bank=40, batch=2).setup()
    tilt, _ = TiltPriorRecipe((16, 16), 2, 16).setup()
    priors = KernelDiffusion(kernel, Schedule.linear(), 16), TiltDiffusion(tilt, Schedule.linear())
    page = operator_priors_report(*priors, tmp_path, samples=6, bank=40)
    assert page == (tmp_path / "operator-priors.md").read_text()
    facts = json.loads((tmp_path / "operator-priors.json").read_text())
    assert facts["kernels"]["samples"] == 6
    for noisy, wiener, network in facts["tilt_rmse"].values():
        assert wiener < noisy
        assert network == pytest.approx(wiener, rel=1e-3)  # untrained: it is the filter
    with Image.open(tmp_path / "operator-priors.png") as picture:
        assert min(picture.size) > 200
