"""The elevation of the first camera: true views fit together where it is right."""

import pytest
import torch

from blindinv.views.camera import Camera
from blindinv.views.elevation import Elevation, find_elevation, lowest
from blindinv.views.objects import BENCHMARK, Thing
from blindinv.views.render import on_white, render
from blindinv.views.rings import rings
from blindinv.views.surface import Fit

QUICK = Fit((20,), (80,), (1e-2,), rays=384, samples=24, fine=12, sharpness=(30.0, 120.0))


@pytest.mark.parametrize("truth", [0.0, 40.0])
def test_the_elevation_of_true_views_is_found(truth):
    wanted, first = rings(12), Camera.degrees([truth], [0.0])
    views = on_white(render(Thing.random(BENCHMARK), wanted, 24))
    relative = wanted.relative_to(first[[0] * 12])
    steps = []
    found = find_elevation(
        lambda e: (views, Camera.of(Camera.degrees([e], [0.0]).pose + relative)), (-40.0, 0.0, 40.0), QUICK, record=steps.append
    )
    assert abs(found.degrees - truth) <= 10
    assert found.candidates[int(torch.tensor(found.losses).argmin())] == truth and found.clear
    assert len(steps) == 3 * 80


def test_the_lowest_point_of_a_parabola():
    at = [-20.0, 0.0, 20.0, 40.0]
    assert lowest(at, [(x - 7) ** 2 for x in at]) == pytest.approx(7)
    assert lowest(at, [(x + 50) ** 2 for x in at]) == -20  # an end is an end
    assert lowest(at, [1.0, 0.0, 0.0, 1.0]) == pytest.approx(10)  # half the distance to the neighbour, no further
    assert lowest([5.0], [1.0]) == 5


def test_losses_that_are_alike_tell_nothing():
    assert not Elevation(0.0, (0.0, 20.0), (0.0200, 0.0205)).clear
    assert Elevation(0.0, (0.0, 20.0), (0.02, 0.03)).clear


@pytest.mark.parametrize("candidates", [(), (20.0, 0.0), (0.0, 0.0)])
def test_candidates_must_rise(candidates):
    with pytest.raises(ValueError, match="rising"):
        find_elevation(lambda e: (torch.ones(1, 3, 8, 8), Camera.degrees([e], [0.0])), candidates)
