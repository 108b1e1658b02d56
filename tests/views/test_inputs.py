"""Pictures as people have them become pictures as view priors know them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from blindinv.views.background import NO_PLAIN
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera
from blindinv.views.inputs import FILL, as_it_is, circle, cut_out, framed, on_white, well_framed

GREY = (0.35, 0.45, 0.4)


def disc(size: int = 120, centre: tuple[float, float] = (60, 60), radius: float = 30, hole: float = 0) -> Tensor:
    """Coverage (1, 1, size, size) of a disc, or of a ring, each pixel from 8 x 8 samples."""
    at = (torch.arange(8 * size) + 0.5) / 8
    away = ((at[None] - centre[0]) ** 2 + (at[:, None] - centre[1]) ** 2).sqrt()
    return F.avg_pool2d(((away <= radius) & (away >= hole)).float()[None, None], 8)


def before(alpha: Tensor, ground: Tensor | tuple[float, ...] = GREY, colour: tuple[float, ...] = (0.8, 0.2, 0.1)) -> Tensor:
    """An object of one colour in front of a ground."""
    front, back = (c if isinstance(c, Tensor) else torch.tensor(c)[:, None, None] for c in (colour, ground))
    return alpha * front + (1 - alpha) * back


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_alpha_is_the_share_of_the_object_and_its_colour_is_freed_of_the_ground(noise):
    alpha = disc()
    found = cut_out(before(alpha) + noise * torch.randn(1, 3, 120, 120))
    assert found.source == "background"
    assert (found.rgba[:, 3:] - alpha).abs().mean() < 0.002 and (found.rgba[:, 3:] - alpha).abs().max() < 0.02 + 8 * noise
    clean = before(alpha, (1.0, 1.0, 1.0))
    assert (on_white(found.rgba) - clean).abs().amax() < 0.02 + 8 * noise


def test_light_that_falls_off_is_a_plain_background():
    y, x = torch.meshgrid(torch.linspace(0, 1, 120), torch.linspace(0, 1, 120), indexing="ij")
    ground = torch.stack([0.5 + 0.3 * x - 0.1 * y, 0.5 + 0.2 * x, 0.4 + 0.3 * y])
    alpha = disc()
    assert (cut_out(before(alpha, ground)).rgba[:, 3:] - alpha).abs().mean() < 0.003


def soft_shadow(depth: float, size: int = 300) -> Tensor:
    """Light that is left on the ground beside and under a disc: (1, 1, size, size)."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    return 1 - depth * torch.exp(-(((x - 180) / 80) ** 2) - ((y - 210) / 40) ** 2)[None, None]


def test_soft_shadows_belong_to_the_ground():
    alpha = disc(300, (150, 150), 75)
    ground = torch.tensor(GREY)[:, None, None] * soft_shadow(0.3)
    picture = before(alpha, ground) + 0.01 * torch.randn(1, 3, 300, 300)
    assert (cut_out(picture).rgba[:, 3:] - alpha).abs().mean() < 0.004


def test_a_thing_of_the_shadows_colour_stays():
    """It has an edge."""
    alpha = disc(300, (150, 150), 75)
    picture = before(alpha, colour=tuple(0.8 * c for c in GREY)) + 0.01 * torch.randn(1, 3, 300, 300)
    assert (cut_out(picture).rgba[:, 3:] - alpha).abs().mean() < 0.02


def test_holes_are_seen_through_and_small_spots_of_the_grounds_colour_are_not():
    ring = disc(radius=40, hole=20)
    assert (cut_out(before(ring)).rgba[:, 3:] - ring).abs().mean() < 0.003
    picture = before(disc(radius=40))
    picture[..., 60:62, 60:62] = torch.tensor(GREY)[:, None, None]
    assert cut_out(picture).rgba[0, 3, 55:65, 55:65].min() == 1


def test_the_largest_piece_is_the_object():
    alpha = disc(centre=(70, 60)) + disc(centre=(15, 15), radius=5)
    assert (cut_out(before(alpha)).rgba[:, 3:] - disc(centre=(70, 60))).abs().max() < 0.05


def test_an_alpha_channel_is_used_as_it_is():
    pixels, alpha = torch.rand(1, 3, 40, 30), disc(40, (15, 20), 8)[..., :30]
    found = cut_out(pixels, alpha)
    assert found.source == "alpha" and torch.equal(found.rgba, torch.cat([pixels, alpha], 1))


def test_opaque_alpha_is_as_good_as_none():
    picture = before(disc())
    assert torch.equal(cut_out(picture, torch.ones(1, 1, 120, 120)).rgba, cut_out(picture).rgba)


@pytest.mark.parametrize(
    ("pixels", "alpha", "words"),
    [
        (torch.rand(1, 3, 40, 40), torch.zeros(1, 1, 40, 40), "transparent everywhere"),
        (torch.full((1, 3, 40, 40), 0.3), None, "no object"),
        (torch.ones(1, 3, 40, 40), torch.ones(1, 1, 40, 40), "no object"),
        (torch.rand(1, 3, 40, 40), None, NO_PLAIN),
        (before(disc(120, (60, 60), 3)), None, "pixels wide"),
    ],
)
def test_what_shows_no_object(pixels, alpha, words):
    with pytest.raises(ValueError, match=words.partition("(")[0]):
        cut_out(pixels, alpha)


def test_a_scene_that_happens_to_have_some_even_border_is_not_plain(astronaut):
    with pytest.raises(ValueError, match="not plain"):
        cut_out(astronaut)


def test_the_circle_is_the_smallest_one():
    """An equilateral triangle, whose bounding box is centred elsewhere."""
    size, r = 200, 80.0
    corners = [(100 + r * math.sin(a), 110 - r * math.cos(a)) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    at = torch.arange(size) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    inside = torch.ones(size, size, dtype=torch.bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    rgba = torch.cat([torch.zeros(3, size, size), inside.float()[None]])[None]
    assert circle(rgba) == pytest.approx((100, 110, r), abs=1.5)


@pytest.mark.parametrize(("width", "height", "centre", "radius"), [(200, 120, (150, 40), 30), (90, 300, (44, 250), 40)])
def test_framing_centres_and_scales(width, height, centre, radius):
    alpha = disc(300, centre, radius)[..., :height, :width]
    out = framed(torch.cat([before(alpha, (1.0, 1.0, 1.0)), alpha], 1), 64)
    assert out.shape == (1, 4, 64, 64)
    x, y, r = circle(out)
    assert (x, y) == pytest.approx((32, 32), abs=0.6) and 2 * r / 64 == pytest.approx(FILL, abs=0.03)
    expected = disc(64, (32, 32), 32 * FILL)
    assert (out[:, 3:] - expected).abs().mean() < 0.01
    assert (on_white(out) - before(expected, (1.0, 1.0, 1.0))).abs().mean() < 0.01


def test_an_object_cut_off_by_the_frame_is_framed_too():
    alpha = disc(120, (110, 60), 30)
    out = framed(torch.cat([before(alpha), alpha], 1), 64)
    assert torch.isfinite(out).all() and 0.4 < float(out[:, 3].mean()) / (math.pi * (FILL / 2) ** 2) < 1


def test_what_is_well_framed_stays_as_it_is():
    render = Blobs.random(3).render(Camera.degrees([15], [40]), 64)
    found = cut_out(render)
    assert well_framed(found.rgba) and (on_white(framed(found.rgba, 64, fit=False)) - render).abs().max() < 0.08
    small, aside, wide = (disc(100, *where) for where in (((50, 50), 10), ((75, 50), 24), ((50, 50), 30)))
    assert not well_framed(torch.cat([before(small), small], 1)) and not well_framed(torch.cat([before(aside), aside], 1))
    assert not well_framed(torch.cat([before(wide), wide], 1)[..., :90])
    assert well_framed(torch.cat([before(wide), wide], 1))


def test_the_size_of_the_file_does_not_matter():
    thing, camera = Blobs.random(5), Camera.degrees([20], [100])
    small, large = (on_white(framed(cut_out(thing.render(camera, size)).rgba, 64)) for size in (128, 300))
    assert (small - large).abs().mean() < 0.006


@pytest.mark.parametrize("transparent", [True, False])
def test_large_photos_are_made_smaller_first(transparent):
    alpha = disc(256, (150, 130), 60)
    big = F.interpolate(alpha, (1536, 1536), mode="bilinear")
    pixels = torch.where(big > 0, torch.tensor((0.8, 0.2, 0.1))[:, None, None], 0.0) if transparent else before(big)
    found = cut_out(pixels, big if transparent else None)
    assert found.rgba.shape == (1, 4, 1024, 1024)
    expected = before(disc(64, (32, 32), 32 * FILL), (1.0, 1.0, 1.0))
    assert (on_white(framed(found.rgba, 64)) - expected).abs().mean() < 0.01


def test_pictures_as_they_are():
    render = Blobs.random(3).render(Camera.degrees([15], [40]), 64)
    assert torch.equal(on_white(as_it_is(render).rgba), render)
    with pytest.raises(ValueError, match="must be square"):
        as_it_is(render[..., :60])
    with pytest.raises(ValueError, match="white everywhere"):
        as_it_is(torch.ones(1, 3, 40, 40))
