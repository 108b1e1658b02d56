"""The default method and `deblur`, with the shipped weights on small pictures."""

import pytest
import torch
from skimage import data
from torch import Tensor

from blindinv import deblur, load_kernel_denoiser, load_prior, tiled
from blindinv.guidance.evidence import log_evidence
from blindinv.kernels.measure import centre_exactly, centre_of_main_part, centre_of_mass, delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.methods import methods
from blindinv.methods.default import Default, Refined
from blindinv.methods.em import start_image
from blindinv.methods.latentdem import Settings, count_kernel_steps, shape
from blindinv.metrics import best_shift, psnr
from blindinv.mstep.coarse_to_fine import CoarseToFine
from blindinv.operators.convolution import CircularConvolution
from blindinv.priors.kernel import KernelRefiner
from blindinv.problem import Deblurring
from blindinv.protocols import generators
from blindinv.zoo.spectra import with_spectra

SIGMA, KERNEL = 0.01, 8
QUICK = Default(Settings(starts=(CoarseToFine(prune=0.1),), em=(2, 1), steps=4))


@pytest.fixture(scope="module")
def prior():
    return load_prior("photos")


@pytest.fixture(scope="module")
def denoiser():
    return load_kernel_denoiser()


def photo(side: int) -> Tensor:
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.interpolate(image, (256, 256), mode="bicubic", antialias=True).clamp(0, 1)[
        ..., :side, 64 : 64 + side
    ]


def observe(x: Tensor, k: Tensor) -> Tensor:
    y = CircularConvolution()(x, k)
    return y + SIGMA * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def blurred():
    x = photo(160)
    k = motion_kernels(1, 21, 0.5, torch.Generator().manual_seed(KERNEL))
    return x, k, observe(x, k)


def test_finds_image_and_kernel(blurred, prior, denoiser):
    x, k, y = blurred
    result = deblur(y, prior=prior, denoiser=denoiser, kernel_size=25, sigma=SIGMA, circular=True)
    assert result.image.shape == y.shape and result.kernel.shape == (1, 1, 25, 25)
    assert result.kernel.min() >= 0 and abs(float(result.kernel.sum()) - 1) < 1e-4
    assert float(mnc(result.kernel, k)) > 0.8
    assert float(psnr(best_shift(result.image, x)[0], x)) > float(psnr(y, x)) + 3


def test_a_sharp_photo_stays_sharp(prior, denoiser):
    x = photo(160)
    y = x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    result = deblur(y, prior=prior, denoiser=denoiser, kernel_size=25, sigma=SIGMA)
    assert float(mnc(result.kernel, delta(25))) > 0.999
    assert float(psnr(result.image, x)) > float(psnr(y, x)) - 1


def test_a_refiner_changes_the_kernel_and_leaves_a_sharp_photo_alone(blurred, prior, denoiser):
    x, k, y = blurred
    own = {"prior": prior, "denoiser": denoiser, "kernel_size": 25, "sigma": SIGMA, "circular": True}
    refined = Refined(QUICK.settings)
    plain, made = deblur(y, method=QUICK, **own).kernel, deblur(y, method=refined, **own).kernel
    assert not torch.allclose(plain, made, atol=1e-3) and float(mnc(made, k)) > 0.8
    torch.testing.assert_close(deblur(y, method=refined, refiner=KernelRefiner(4).eval(), **own).kernel, plain, atol=2e-4, rtol=0)
    sharp = deblur(x[..., :96, :96], method=refined, **own)
    assert float(mnc(sharp.kernel, delta(25))) > 0.999


def test_a_known_kernel_stays_and_beats_the_wiener_filter(blurred, prior, denoiser):
    x, k, y = blurred
    result = deblur(y, prior=prior, denoiser=denoiser, kernel=k, sigma=SIGMA, circular=True)
    assert torch.equal(result.kernel, k)
    problem = Deblurring.of(y, SIGMA, circular=True, kernel=k)
    assert float(psnr(result.image, x)) > float(psnr(start_image(problem, prior, k), x)) + 0.5


def test_samples_are_a_batch_and_do_not_depend_on_each_other(blurred, denoiser):
    """In float32: what bfloat16 rounds away depends on how many images lie side by side."""
    _, k, y = blurred
    prior = load_prior("photos", dtype=torch.float32)
    method = Default(Settings(sparse=0.0))
    one = deblur(y, prior=prior, denoiser=denoiser, kernel=k, sigma=SIGMA, circular=True, method=method)
    three = deblur(y, prior=prior, denoiser=denoiser, kernel=k, sigma=SIGMA, circular=True, method=method, samples=3)
    assert len(three.image) == 3
    assert torch.allclose(three.image[0], one.image[0], atol=1e-4)
    assert (three.image[1] - three.image[0]).abs().mean() > 1e-4


def test_the_evidence_prefers_the_true_kernel(blurred, prior):
    _, k, y = blurred
    problem = Deblurring.of(y, SIGMA, 21, True)

    def score(q: Tensor) -> float:
        return float(log_evidence(problem, prior, q, start_image(problem, prior, q), 200, generators(0, 1)))

    others = [delta(21), k.flip(-1), motion_kernels(1, 21, 0.5, torch.Generator().manual_seed(0))]
    assert all(score(k) > score(other) for other in others)


def test_a_whole_line_is_a_better_kernel_than_its_pieces():
    line, dots, halves = torch.zeros(3, 1, 1, 31, 31)
    line[..., 15, 5:25], dots[..., 15, 5:25:2] = 1.0, 1.0
    halves[..., 5, 5:15], halves[..., 20, 15:25] = 1.0, 0.9
    line, dots, halves = (k / k.sum() for k in (line, dots, halves))
    assert shape(line, 1, 0) > shape(dots, 1, 0) + 0.05
    assert shape(line, 0, 1) > shape(halves, 0, 1) + 0.1
    assert shape(delta(31), 1, 1) > shape(dots, 1, 1)  # a sharp photo is no broken movement


def test_centre_exactly_moves_by_fractions_of_a_pixel():
    k = motion_kernels(4, 31, 0.5, torch.Generator().manual_seed(1))
    moved = 0.7 * k.roll(2, -1) + 0.3 * k.roll(3, -1)
    back = centre_exactly(moved)
    assert centre_of_mass(moved).abs().max() > 2 and centre_of_mass(back).abs().max() < 0.2
    assert (mnc(back, moved, 8) > 0.997).all() and torch.allclose(back.sum((1, 2, 3)), torch.ones(4))  # as sharp as before


def test_the_result_is_centred_and_the_image_lies_where_it_was_taken(blurred, prior, denoiser):
    *_, y = blurred
    result = deblur(y, prior=prior, denoiser=denoiser, method=QUICK, kernel_size=25, sigma=SIGMA, circular=True)
    assert centre_of_main_part(result.kernel).abs().max() < 0.1
    again = CircularConvolution()(result.image, result.kernel)
    assert float((again - y).square().mean().sqrt()) < 3 * SIGMA


def test_large_images_are_tiled_and_share_a_kernel(prior, denoiser, monkeypatch):
    monkeypatch.setattr(tiled, "LARGEST", 100 * 100)
    monkeypatch.setattr(tiled, "TILE", 96)
    x, k = photo(176), motion_kernels(1, 13, 0.3, torch.Generator().manual_seed(5))
    y = observe(x, k)
    calls: list[int] = []
    result = deblur(
        y, prior=prior, denoiser=denoiser, method=QUICK, kernel_size=13, sigma=SIGMA, record=lambda p: calls.append(p.total)
    )
    assert result.image.shape == y.shape and result.kernel.shape == (1, 1, 13, 13)
    steps = count_kernel_steps(Deblurring.of(y, SIGMA, 13), QUICK.settings) + 4
    # one blind tile, then all with its kernel
    assert calls.count(steps) == steps and calls.count(4) == len(calls) - steps >= 4 * 9
    inner = (..., slice(16, -16), slice(16, -16))
    known = deblur(y, prior=prior, denoiser=denoiser, method=QUICK, kernel=k, sigma=SIGMA).image
    assert float(psnr(known[inner], x[inner])) > float(psnr(y[inner], x[inner])) + 1


def test_missing_spectra_are_measured(prior):
    bare = load_prior("photos")
    bare.spectrum, bare.image_spectrum = None, None
    measured = with_spectra(bare, 128)
    ratio = (measured.spectrum(200, (64, 64)) / prior.spectrum(200, (64, 64))).log().abs().mean()
    assert ratio < 1  # other photos, the same prior: within a factor e on average


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "nonsense"}, "no method"),
        ({"method": "psld"}, "not blind"),
        ({"skip": (8, 500)}, "latentdem-paper"),
        ({"kernel_size": 5}, "9..129"),
        ({"sigma": -1.0}, "negative"),
    ],
)
def test_what_cannot_be_done_says_so(arguments, message, prior, denoiser):
    y = photo(64)
    with pytest.raises(ValueError, match=message):
        deblur(y, **({"prior": prior, "denoiser": denoiser, "kernel_size": 13, "sigma": SIGMA} | arguments))


def test_every_method_says_what_it_is():
    assert all(len(m.about.summary) > 20 for m in methods().values())
