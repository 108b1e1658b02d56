"""The shipped diffusion priors do on data that they have not seen what they were trained for."""

import torch

from blindinv.kernels.mixture import mixed_kernels
from blindinv.kernels.tilt import tilt_maps
from blindinv.zoo import load_kernel_prior, load_prior, load_tilt_prior
from blindinv.zoo.shipped import SHIPPED, WEIGHTS, weights_hash


def noisy(prior, z, t):
    a = prior.schedule.at(t)
    return a**0.5 * z + (1 - a) ** 0.5 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1)), a


def error(x, z):
    return float((x - z).square().mean())


def test_kernels():
    prior = load_kernel_prior()
    assert prior.size == 64
    z = prior.encode(mixed_kernels(8, 64, torch.Generator().manual_seed(77)))
    for t, share in ((100, 0.25), (300, 0.75)):
        z_t, _ = noisy(prior, z, t)
        independent, _, _ = prior.denoiser.gaussian(z_t, torch.full((8,), t))
        assert error(prior.denoise(z_t, t), z) < share * error(independent, z)


def test_tilt_at_two_sizes():
    prior = load_tilt_prior()
    for size in ((64, 64), (48, 80)):
        z = prior.encode(tilt_maps(4, size, torch.Generator().manual_seed(77)))
        z_t, a = noisy(prior, z, 400)
        wiener, _ = prior.denoiser.gaussian(z_t, torch.full((4,), a))
        assert error(prior.denoise(z_t, 400), z) < 1.005 * error(wiener, z) < error(z_t / a**0.5, z)


def test_pixels(astronaut):
    prior = load_prior("pixels")
    z = prior.encode(astronaut[..., 32:160, 64:192])
    for t in (100, 300):
        z_t, a = noisy(prior, z, t)
        wiener, _ = prior.denoiser.gaussian(z_t, torch.full((1,), a))
        assert error(prior.denoise(z_t, t), z) < 0.85 * error(wiener, z)
    torch.testing.assert_close(prior.decode(z), astronaut[..., 32:160, 64:192])
    assert prior.spectrum is not None
    assert prior.image_spectrum is not None


def test_every_prior_has_a_card_with_its_hash_and_all_files_fit_in_100_mb():
    hashes = weights_hash()
    for name in (*SHIPPED, "kernels64", "tilt", "kernel_denoiser", "kernel_refiner"):
        assert hashes[name] in (WEIGHTS / f"{name}.md").read_text(encoding="utf-8"), name
    assert sum(p.stat().st_size for p in WEIGHTS.glob("*.safetensors")) < 100e6
