"""The small networks of the package: what their construction promises before any training."""

import pytest
import torch

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.kernel import KernelDenoiser


def test_autoencoder_starts_as_principal_component_analysis(scenes):
    x = 2 * scenes(24, 3, 16) - 1
    model = PatchAutoencoder(8, (8, 8))
    model.init_pca(x)
    with torch.no_grad():
        z = model.encode(x)
        back = model.decode(z)
    flat = z.permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(flat), torch.eye(8), atol=1e-3, rtol=0)
    patches = torch.nn.functional.pixel_unshuffle(x, 4).permute(0, 2, 3, 1).reshape(-1, 48).double()
    power = torch.linalg.eigvalsh(torch.cov(patches.T))
    lost = (len(patches) - 1) / len(patches) * power[:-8].sum() / 48  # the best any linear code of 8 numbers can do
    assert (back - x).square().mean().item() == pytest.approx(lost.item(), rel=1e-3)


def test_autoencoder_shapes_follow_the_image():
    model = PatchAutoencoder(4, (8, 8))
    for size in ((16, 16), (20, 32)):
        z = model.encode(torch.rand(2, 3, *size))
        assert z.shape == (2, 4, size[0] // 4, size[1] // 4)
        assert model.decode(z).shape == (2, 3, *size)


def test_latent_prior_ranges(latent_prior):
    """Images in [0, 1] outside, [-1, 1] inside, z shifted and scaled."""
    x = torch.rand(2, 3, 16, 16)
    z = latent_prior.encode(x)
    assert z.shape == latent_prior.shape(tuple(x.shape)) == (2, 4, 4, 4)
    torch.testing.assert_close(z * 1.2 + 0.1, latent_prior.autoencoder.encode(2 * x - 1))
    torch.testing.assert_close(2 * latent_prior.decode(z) - 1, latent_prior.autoencoder.decode(z * 1.2 + 0.1))


def test_kernel_denoiser_takes_any_size_and_level():
    model = KernelDenoiser(8, 3)
    k = torch.rand(3, 1, 21, 21) / 441
    for size in (9, 64):
        assert model(torch.rand(2, 1, size, size), 1e-3).shape == (2, 1, size, size)
    levels = torch.tensor([1e-4, 1e-3, 1e-2]).view(3, 1, 1, 1)
    together = model(k, levels)
    for b in range(3):
        torch.testing.assert_close(together[b : b + 1], model(k[b : b + 1], levels[b].item()), atol=1e-7, rtol=0)
    assert not torch.allclose(model(k, 1e-4), model(k, 1e-2), atol=1e-6)
