"""Tiles of a problem: what each of them is given, and that they come together again."""

import pytest
import torch
from torch import Tensor

from blindinv import tiled
from blindinv.kernels.measure import delta
from blindinv.problem import Deblurring
from blindinv.tiled import whole_or_tiles

KERNEL = 9


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "LARGEST", 90 * 90)
    monkeypatch.setattr(tiled, "TILE", 90)


def photo(height: int = 100, width: int = 160) -> Tensor:
    """Flat on the left, full of detail at the bottom right."""
    y = torch.full((1, 3, height, width), 0.5)
    y[..., 50:, 100:] += 0.3 * torch.rand(1, 3, height - 50, width - 100, generator=torch.Generator().manual_seed(0))
    return y


class Recorded:
    """Finds the observation itself and, where it is not known, a kernel; keeps the parts that it was given."""

    def __init__(self) -> None:
        self.parts: list[Deblurring] = []

    def __call__(self, part: Deblurring) -> tuple[Tensor, Tensor]:
        self.parts.append(part)
        return torch.cat([part.y, part.sigma.expand_as(part.y)], 1), delta(KERNEL) if part.kernel is None else part.kernel


def test_a_small_problem_is_found_whole():
    problem, find = Deblurring.of(photo(80, 100), 0.02, KERNEL), Recorded()
    maps, _ = whole_or_tiles(problem, find)
    assert len(find.parts) == 1 and find.parts[0] is problem and torch.equal(maps[:, :3], problem.y)


def test_the_kernel_of_the_tile_with_most_detail_is_that_of_all():
    problem, find = Deblurring.of(photo(), 0.02, KERNEL, circular=False), Recorded()
    maps, kernel = whole_or_tiles(problem, find)
    first, *rest = find.parts
    assert first.kernel is None and torch.equal(first.y, problem.y[..., -90:, -90:]) and torch.equal(kernel, delta(KERNEL))
    assert len(rest) == 6 and all(torch.equal(part.kernel, kernel) and not part.circular for part in rest)
    assert all(part.rng is problem.rng for part in find.parts)
    torch.testing.assert_close(maps[:, :3], problem.y, atol=1e-6, rtol=0)


def test_a_known_kernel_is_not_looked_for():
    k, find = delta(KERNEL).roll(1, -1), Recorded()
    _, kernel = whole_or_tiles(Deblurring.of(photo(), 0.02, kernel=k, circular=False), find)
    assert torch.equal(kernel, k) and len(find.parts) == 6 and all(torch.equal(part.kernel, k) for part in find.parts)


def test_each_tile_gets_its_part_of_a_noise_map():
    problem, find = Deblurring.of(photo(), 0.0, KERNEL, circular=False, photons=100.0), Recorded()
    maps, _ = whole_or_tiles(problem, find)
    assert problem.sigma.shape == problem.y.shape and all(part.sigma.shape == part.y.shape for part in find.parts)
    torch.testing.assert_close(maps[:, 3:], problem.sigma, atol=1e-6, rtol=0)
