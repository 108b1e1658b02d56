"""The restorer at any size, from any file, and what the method makes of it."""

import pytest
import torch
from torch import Tensor, nn

from blindinv.baselines.restorer import Restorer, explaining_kernel, load_restorer, restore
from blindinv.kernels.measure import mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.problem import Deblurring, run
from blindinv.zoo.shipped import write_weights

KERNEL = motion_kernels(2, 15, 0.5, torch.Generator().manual_seed(3))


def tiny() -> Restorer:
    """Weights that are all at work: neither the blocks nor the output are zero."""
    torch.manual_seed(0)
    model = Restorer((8, 12), 1)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    return model.eval().requires_grad_(False)


class Knows(nn.Module):
    """A perfect restorer of one scene."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self.x[: len(y)]


def test_untrained_it_returns_its_input():
    y = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Restorer((8, 12), 1)(y, 0.02), y)


@pytest.mark.parametrize("size", [(16, 16), (41, 30), (9, 65)])
def test_any_size(size):
    y = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    x = tiny()(y, 0.02)
    assert x.shape == y.shape
    assert not torch.allclose(x, y, atol=1e-3)


def test_it_is_local_and_moves_with_the_picture():
    y, model = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0)), tiny()
    a, b = model(y, 0.02)[..., 64:96, 64:96], model(y[..., 8:, 16:], 0.02)[..., 56:88, 48:80]
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_noise_level_matters_and_batch_mates_do_not():
    y, model = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), tiny()
    sigma = torch.tensor([0.01, 0.04]).view(-1, 1, 1, 1)
    both = model(y, sigma)
    torch.testing.assert_close(both[1:], model(y[1:], 0.04), atol=1e-5, rtol=1e-5)
    assert (both[0] - model(y[:1], 0.04)[0]).abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore")  # torch wants other formats than TorchScript
def test_weights_and_torchscript_come_back_the_same(tmp_path):
    model, y = tiny(), torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    write_weights(tmp_path / "r.safetensors", model.state_dict(), model.config)
    torch.testing.assert_close(load_restorer(tmp_path / "r.safetensors")(y, 0.02), model(y, 0.02), atol=1e-2, rtol=1e-2)
    sigma = torch.full((1, 1, 1, 1), 0.02)
    torch.jit.trace(model, (y, sigma)).save(str(tmp_path / "r.pt"))
    torch.testing.assert_close(load_restorer(tmp_path / "r.pt")(y, sigma), model(y, sigma))


@pytest.mark.filterwarnings("ignore")
def test_files_that_are_no_restorers(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    (tmp_path / "a.pt").write_bytes(b"nothing")
    write_weights(tmp_path / "b.safetensors", {"w": torch.zeros(2)}, {"size": 3})
    for name in ("a.safetensors", "a.pt", "b.safetensors", "c.safetensors"):
        with pytest.raises(ValueError, match=name):
            load_restorer(tmp_path / name)


@pytest.mark.parametrize("circular", [True, False])
def test_a_perfect_image_gives_its_kernel(astronaut, circular):
    x = astronaut[..., 80:208, 80:208].expand(2, -1, -1, -1)
    y = CircularConvolution()(x, KERNEL)
    if not circular:
        y = FreeConvolution()(astronaut.expand(2, -1, -1, -1)[..., 64:224, 64:224], KERNEL, (128, 128))
    p = Deblurring.of(y, 0.005, 15, circular)
    result = run(p, restore(p, Knows(x)))
    torch.testing.assert_close(result.image, x)
    assert (mnc(result.kernel, KERNEL, upsample=4) > 0.95).all()
    assert run(p.with_kernel(KERNEL), restore(p.with_kernel(KERNEL), Knows(x))).kernel is KERNEL


def test_a_flat_image_explains_nothing():
    y = torch.full((1, 3, 32, 32), 0.5)
    k = explaining_kernel(Deblurring.of(y, 0.01, 9, True), y)
    assert k[..., 4, 4] == 1 and k.sum() == 1


def test_a_network_that_changes_the_size_is_refused():
    p = Deblurring.of(torch.rand(1, 3, 32, 32), 0.01, 9, True)
    with pytest.raises(ValueError, match="must keep the shape"):
        run(p, restore(p, Knows(torch.zeros(1, 3, 16, 16))))
