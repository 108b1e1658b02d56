"""The sparse-gradient baseline solves its own equations and beats the blurred picture."""

import pytest
import torch
from skimage import data

from blindinv.baselines import sparse
from blindinv.baselines.sparse import sparse_deconvolution
from blindinv.kernels.motion import motion_kernels
from blindinv.metrics import levin_psnr, psnr
from blindinv.operators.boundary import embed
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.fourier import otf
from blindinv.problem import Deblurring


def scene(size: int) -> torch.Tensor:
    x = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return x[..., 180 : 180 + size, 240 : 240 + size]


def problem(circular: bool, sigma: float = 0.005, batch: int = 2) -> tuple[Deblurring, torch.Tensor]:
    k = motion_kernels(batch, 15, 0.5, torch.Generator().manual_seed(1))
    noise = sigma * torch.randn(batch, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    if circular:
        truth = scene(96).expand(batch, -1, -1, -1)
        y = CircularConvolution()(truth, k) + noise
        return Deblurring(y, torch.full((batch, 1, 1, 1), sigma), 15, CircularConvolution(), k), truth
    whole = scene(128).expand(batch, -1, -1, -1)
    A = FreeConvolution()
    return Deblurring(A(whole, k, (96, 96)) + noise, torch.full((batch, 1, 1, 1), sigma), 15, A, k), whole[..., 16:-16, 16:-16]


def test_quadratic_step_equals_dense_least_squares():
    g = torch.Generator().manual_seed(0)
    y, mask = embed(torch.rand(1, 1, 6, 7, generator=g, dtype=torch.float64), (10, 10))
    K = otf(motion_kernels(1, 9, 0.5, g).double(), (10, 10))
    w = [torch.rand(1, 1, 10, 10, generator=g, dtype=torch.float64) + 0.1 for _ in range(2)]
    system = sparse._Quadratic(K, mask, torch.full((1, 1, 1, 1), 0.05, dtype=torch.float64))
    basis = torch.eye(100, dtype=torch.float64).view(100, 1, 10, 10)
    blur = (mask * torch.fft.irfft2(K * torch.fft.rfft2(basis), (10, 10))).view(100, 100).T
    gx, gy = ((w_i.sqrt() * g_i).view(100, 100).T for w_i, g_i in zip(w, sparse._gradient(basis), strict=True))
    dense = torch.linalg.solve(blur.T @ blur + 0.05 * (gx.T @ gx + gy.T @ gy), blur.T @ y.view(100))
    x = system.solve(y, w, torch.zeros_like(y), 100)
    assert torch.allclose(x.view(100), dense, atol=1e-6)


@pytest.mark.parametrize("circular", [True, False])
def test_it_sharpens(circular: bool):
    p, truth = problem(circular)
    x = sparse_deconvolution(p)
    assert x.shape == p.y.shape and x.min() >= 0 and x.max() <= 1
    score = psnr if circular else levin_psnr
    assert (score(x, truth) > score(p.y, truth) + 3).all()


@pytest.mark.parametrize("circular", [True, False])
def test_batch_mates_do_not_matter(circular: bool):
    p, _ = problem(circular)
    y, sigma, k = p.y.double(), p.sigma.double(), p.kernel.double()
    both, alone = Deblurring(y, sigma, 15, p.A, k), Deblurring(y[1:], sigma[1:], 15, p.A, k[1:])
    assert torch.allclose(sparse_deconvolution(both)[1:], sparse_deconvolution(alone), atol=1e-6)


def test_any_channels_and_bad_input():
    p, _ = problem(True)
    grey = Deblurring(p.y[:, :1], p.sigma, 15, p.A, p.kernel)
    assert sparse_deconvolution(grey, lam=1e-3, outer=2).shape == (2, 1, 96, 96)
    with pytest.raises(ValueError, match="needs a kernel"):
        sparse_deconvolution(Deblurring(p.y, p.sigma, 15, p.A))
    with pytest.raises(ValueError, match="p must be"):
        sparse_deconvolution(p, p=3)
