"""The baselines under the names that `blindinv deblur --method` knows."""

import pytest
import torch

from blindinv import deblur, gaussian_kernel
from blindinv.baselines.restorer import Restorer
from blindinv.methods import methods
from blindinv.operators.convolution import CircularConvolution

SIGMA = 0.01


@pytest.fixture(scope="module")
def blurred():
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=g), (64, 64)) * 0.8 + 0.1
    y = CircularConvolution()(x, gaussian_kernel(9, 1.0))
    return y + SIGMA * torch.randn(y.shape, generator=g)


@pytest.mark.parametrize(("name", "steps"), [("pan-dcp", 1), ("selfdeblur", 3), ("richardson-lucy", 3), ("restorer", None)])
def test_each_gives_an_image_and_a_kernel(blurred, name, steps):
    restorer = Restorer((16, 16), 1) if name == "restorer" else None
    seen = []
    result = deblur(
        blurred, method=name, restorer=restorer, kernel_size=9, sigma=SIGMA, circular=True, steps=steps, record=seen.append
    )
    assert result.image.shape == blurred.shape and result.image.min() >= 0 and result.image.max() <= 1
    assert result.kernel.shape == (1, 1, 9, 9) and torch.allclose(result.kernel.sum(), torch.ones(()), atol=1e-4)
    assert seen[-1].step == seen[-1].total
    assert set(methods()[name].needs) <= {"restorer"}


def test_a_restorer_has_no_steps(blurred):
    with pytest.raises(ValueError, match="one step"):
        deblur(blurred, method="restorer", restorer=Restorer((16, 16), 1), kernel_size=9, sigma=SIGMA, circular=True, steps=5)
