"""In which precision networks compute."""

import pytest
import torch

from blindinv import load_prior
from blindinv.precision import computing, precisions, quick_dtype
from blindinv.zoo import load_kernel_prior, load_tilt_prior
from blindinv.zoo.views import load_view_prior

LOADERS = {
    "photos": lambda dtype: load_prior("photos", dtype=dtype),
    "pixels": lambda dtype: load_prior("pixels", dtype=dtype),
    "kernels64": lambda dtype: load_kernel_prior(dtype=dtype),
    "tilt": lambda dtype: load_tilt_prior(dtype=dtype),
}


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_is_quick_if_it_has_matrix_units(monkeypatch, units, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units, raising=False)
    assert quick_dtype("cpu") == dtype
    linear, x = torch.nn.Linear(3, 3), torch.ones(1, 3)
    with computing(x.device, None):
        assert linear(x).dtype == dtype
    with computing(x.device, torch.float32):
        assert linear(x).dtype == torch.float32


def test_older_versions_of_pytorch_compute_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert quick_dtype("cpu") == torch.float32


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)])
def test_cuda_is_quick_from_ampere_on(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert quick_dtype("cuda:0") == dtype


@pytest.mark.parametrize("name", LOADERS)
def test_shipped_networks_say_about_the_same_in_bfloat16(name):
    """Less than 2 % apart, with gradients that point the same way, and float32 outside the networks."""
    z, answers = None, []
    for dtype in (torch.float32, torch.bfloat16):
        prior = LOADERS[name](dtype)
        if z is None:
            z = torch.randn(prior.shape((2, 3, 64, 64)), generator=torch.Generator().manual_seed(0))
        z = z.detach().requires_grad_(True)
        x = prior.decode(prior.denoise(z, 300))
        assert x.dtype == prior.encode(x).dtype == torch.float32
        answers.append((x.detach(), torch.autograd.grad((x - x.detach().flip(-1)).square().sum(), z)[0]))
    (x, g), (y, h) = answers
    assert not torch.equal(x, y)
    assert (x - y).norm() < 0.02 * x.norm()
    assert torch.cosine_similarity(g.flatten(), h.flatten(), dim=0) > 0.99


def test_the_view_prior_says_about_the_same_in_bfloat16():
    image, pose = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.0, 0.7, 0.0]])
    said = []
    for dtype in (torch.float32, torch.bfloat16):
        prior = load_view_prior(dtype=dtype)
        z = torch.randn(prior.shape((1, 3, 64, 64)), generator=torch.Generator().manual_seed(1))
        said.append(prior.decode(prior.eps(z, 500, prior.condition(image, torch.tensor([1.3])), pose)))
    assert said[1].dtype == torch.float32 and not torch.equal(*said)
    assert (said[0] - said[1]).norm() < 0.02 * said[0].norm()


def test_what_is_recorded():
    networks = {"prior": load_prior("photos", dtype=torch.bfloat16), "kernel_prior": load_kernel_prior(), "denoiser": object()}
    assert precisions(networks, "cpu") == {"prior": "bfloat16", "kernel_prior": str(quick_dtype("cpu")).removeprefix("torch.")}
