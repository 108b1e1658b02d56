import pytest
import torch

from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.motion import motion_kernels
from blindinv.kernels.tilt import tilt_maps
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.turbulence import Turbulence, warp

FRAME = (32, 48)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def setting(blur, seed=0):
    """Operator, image on the canvas, phi, observation-like image; all float64."""
    A, g = Turbulence(blur), rng(seed)
    size = A.canvas(FRAME, 9)
    phi = {"kernel": motion_kernels(2, 9, 0.5, g).double(), "tilt": tilt_maps(2, size, g, strength=3.0).double()}
    x, y = (torch.rand(2, 3, *n, generator=g, dtype=torch.float64) for n in (size, FRAME))
    return A, x, phi, y


@pytest.mark.parametrize("blur", [CircularConvolution(), FreeConvolution()], ids=["circular", "free"])
def test_adjoint_by_inner_product(blur):
    A, x, phi, y = setting(blur)
    size = (x.shape[-2], x.shape[-1])
    left = (A.frame(A(x, phi), FRAME) * y).sum((1, 2, 3))
    torch.testing.assert_close(left, (x * A.adjoint(y, phi, size)).sum((1, 2, 3)), rtol=1e-10, atol=1e-10)


def test_sign_and_channels_output_pixel_shows_x_at_p_plus_tau():
    x = torch.rand(1, 1, 12, 20, generator=rng())
    tilt = torch.zeros(1, 2, 12, 20)
    tilt[:, 0], tilt[:, 1] = 3, -2  # three columns to the right, two rows up
    torch.testing.assert_close(warp(x, tilt), x.roll((2, -3), (-2, -1)))
    tilt[:, 0], tilt[:, 1] = 0.25, 0
    torch.testing.assert_close(warp(x, tilt), 0.75 * x + 0.25 * x.roll(-1, -1), atol=1e-5, rtol=1e-5)


def test_a_tilt_beyond_the_edge_comes_back_on_the_other_side():
    x = torch.rand(1, 2, 8, 8, generator=rng())
    torch.testing.assert_close(warp(x, torch.full((1, 2, 8, 8), 11.0)), x.roll((-11, -11), (-2, -1)), atol=1e-5, rtol=1e-5)


def test_without_tilt_it_is_the_convolution_and_with_a_delta_the_warp():
    A, x, phi, _ = setting(CircularConvolution())
    none = torch.zeros_like(phi["tilt"])
    torch.testing.assert_close(A(x, phi | {"tilt": none}), A.blur(x, phi["kernel"]))
    sharp = gaussian_kernel(9, 0.05).double().expand(2, -1, -1, -1)
    torch.testing.assert_close(A(x, phi | {"kernel": sharp}), warp(x, phi["tilt"]))


def test_gradients_in_image_and_tilt():
    A, x, phi, _ = setting(CircularConvolution())
    x, k, tilt = x[:1, :1, :8, :10].contiguous(), phi["kernel"][:1, :, 2:7, 2:7], phi["tilt"][:1, :, :8, :10].contiguous()
    f = lambda x, tilt: A(x, {"kernel": k, "tilt": tilt})  # noqa: E731
    assert torch.autograd.gradcheck(f, (x.requires_grad_(), tilt.requires_grad_()))


@pytest.mark.parametrize("blur", [CircularConvolution(), FreeConvolution()], ids=["circular", "free"])
def test_residual_of_the_true_image_is_the_noise(blur):
    A, x, phi, y = setting(blur)
    noise = 0.01 * (y - 0.5)
    y = A.frame(A(x, phi), FRAME) + noise
    size = (x.shape[-2], x.shape[-1])
    r = A.residual(y, x, phi, torch.ones(1, 1, size[0], size[1] // 2 + 1, dtype=torch.float64))
    torch.testing.assert_close(A.frame(r, FRAME), noise)


def test_a_field_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(B, 2, 12, 20\), got \(1, 2, 20, 12\)"):
        warp(torch.rand(1, 3, 12, 20), torch.zeros(1, 2, 20, 12))
