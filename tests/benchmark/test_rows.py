"""Every method makes two rows; the references need no method."""

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from blindinv.benchmark.cases import Batch
from blindinv.benchmark.rows import Context, rows, tensor_hash, wiener_true
from blindinv.kernels.motion import motion_kernels
from blindinv.methods.method import About
from blindinv.metrics import psnr
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.fourier import Spectrum, fft
from blindinv.problem import Result

ABOUT = About("mine")


@dataclass(frozen=True)
class Mine:
    weight: int = 3
    about: About = ABOUT
    needs: tuple[str, ...] = ("denoiser",)
    own_prior: str = "photos"


def batch(kernel_size: int = 13) -> Batch:
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 32, 32, generator=g).cumsum(-1).cumsum(-2)
    truth = truth / truth.amax((1, 2, 3), keepdim=True)
    k = motion_kernels(2, 15, 0.5, g)
    y = CircularConvolution()(truth, k) + 0.001 * torch.randn(truth.shape, generator=g)
    return Batch(y, truth, k, torch.full((2, 1, 1, 1), 0.001), kernel_size, True)


def test_a_method_is_two_rows(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def deblur(y: torch.Tensor, *, kernel: torch.Tensor | None, kernel_size: int, **rest: object) -> Result:
        seen.append((rest["method"], kernel is not None, kernel_size, rest["steps"], rest["seed"]))
        return Result(y, torch.zeros(2, 1, kernel_size, kernel_size), torch.ones(2, 1, 1, 1), [])

    mine = Mine()
    monkeypatch.setattr(import_module("blindinv.methods"), "methods", lambda: {"mine": mine})
    monkeypatch.setattr(import_module("blindinv.deblur"), "deblur", deblur)
    table, context = rows(), Context(seed=5, steps=7)
    assert list(table)[:5] == ["blurred", "wiener-true", "sparse-true", "mine", "mine-true"]
    assert (
        table["mine"].settings == {"method": "Mine", "weight": "3"}
        and table["mine"].needs == ("denoiser",)
        and not table["blurred"].needs
    )
    assert list(context.weights(("denoiser",))) == ["denoiser"]
    for name in ("mine", "mine-true"):
        table[name].run(batch(), context)
    assert seen == [(mine, False, 13, 7, 5), (mine, True, 15, 7, 5)]


def test_wiener_with_the_true_kernel_uses_the_priors_spectrum():
    b, context = batch(), Context()
    spectrum = Spectrum(
        [0], Spectrum.rings(fft(b.truth - b.truth.mean((-2, -1), keepdim=True)).abs().square().mean((0, 1)), (32, 32))[None]
    )
    context.prior = lambda: SimpleNamespace(image_spectrum=spectrum)
    x, k = wiener_true(b, context)
    assert (psnr(x, b.truth) > psnr(b.y, b.truth) + 3).all() and torch.equal(k, b.kernel)
    context.prior = lambda: SimpleNamespace(image_spectrum=None)
    with pytest.raises(ValueError, match="no image spectrum"):
        wiener_true(b, context)


def test_hash_of_tensors_sees_every_weight():
    a, b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    b.load_state_dict(a.state_dict())
    assert tensor_hash(a) == tensor_hash(b)
    with torch.no_grad():
        b.bias[1] += 1e-3
    assert tensor_hash(a) != tensor_hash(b)
