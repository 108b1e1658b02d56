import numpy as np
import pytest
import torch
from PIL import Image

from blindinv.schedule import Schedule
from blindinv.training.data import crop_batch, list_images, load_photos
from blindinv.training.kernel_denoiser import SIGMAS, KernelDenoiserLoss
from blindinv.training.prior import Latents, PriorLoss, cache_latents


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("b.png", (40, 50)), ("a.jpg", (64, 48)), ("small.png", (20, 90))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_photos_of_a_folder(folder, tmp_path):
    assert [p.name for p in list_images(folder)] == ["a.jpg", "b.png", "small.png"]
    photos = load_photos(folder, min_side=32)
    assert [tuple(p.shape) for p in photos] == [(3, 64, 48), (3, 40, 50)]
    assert photos[0].dtype == torch.uint8
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images in"):
        list_images(tmp_path / "empty")
    with pytest.raises(ValueError, match="at least 128"):
        load_photos(folder)


def test_large_photos_are_shrunk(folder):
    assert all(p.shape[1] * p.shape[2] <= 1500 for p in load_photos(folder, 8, max_pixels=1500))


def test_crops_are_in_range_and_come_from_the_seed(folder):
    photos = load_photos(folder, min_side=32)
    a, b, c = (crop_batch(photos, 5, 32, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert a.shape == (5, 3, 32, 32)
    assert a.abs().max() <= 1
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_crops_are_crops():
    """At scale 1, each crop is a window of the photo, mirrored or transposed."""
    photo = torch.arange(20 * 20, dtype=torch.float32).view(1, 20, 20).expand(3, -1, -1).div(2).to(torch.uint8)
    for crop in crop_batch([photo], 8, 6, torch.Generator().manual_seed(0), scales=(1.0, 1.0)):
        value = ((crop[0] + 1) * 127.5).round().to(torch.uint8)
        variants = [v.flip(d) for v in (value, value.T) for d in ([], [0], [1], [0, 1])]
        windows = photo[0].unfold(0, 6, 1).unfold(1, 6, 1).reshape(-1, 6, 6)
        assert any((windows == v).all((1, 2)).any() for v in variants)


def test_kernel_training_data():
    k, noisy, sigma = KernelDenoiserLoss(size=33, batch=64).draw(torch.Generator().manual_seed(0))
    torch.testing.assert_close(k.sum((1, 2, 3)), torch.ones(64))
    assert SIGMAS[0] <= sigma.min() < sigma.max() <= SIGMAS[1]
    torch.testing.assert_close(((noisy - k) / sigma).std(), torch.ones(()), rtol=0.02, atol=0)


class Shuffle(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.pixel_unshuffle(x, 4)[:, :4]


def test_latents_are_cached_and_normalised(tmp_path):
    photos = [
        torch.randint(0, 256, (3, 130, 140), dtype=torch.uint8, generator=torch.Generator().manual_seed(i)) for i in range(3)
    ]
    cache_latents(Shuffle(), photos, tmp_path / "z.safetensors")
    latents = Latents(tmp_path / "z.safetensors")
    assert len(latents.z) == 9  # only full scale is large enough; plain, mirrored, transposed
    assert {tuple(z.shape) for z in latents.z} == {(4, 32, 35), (4, 35, 32)}
    crops = latents.crops(32, 16, torch.Generator().manual_seed(0))
    assert crops.shape == (32, 4, 16, 16)
    torch.testing.assert_close(crops.mean((0, 2, 3)), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(crops.std((0, 2, 3)), torch.ones(4), atol=0.05, rtol=0)
    assert torch.equal(crops, latents.crops(32, 16, torch.Generator().manual_seed(0)))


def test_prior_loss_draws_every_noise_level():
    seen = []

    class Model:
        abar = Schedule.scaled_linear().abar.float()

        def correction(self, z_t, t):
            seen.append(t)
            return torch.zeros_like(z_t), torch.ones(len(z_t), 1, 1, 1), torch.zeros_like(z_t)

    class Fake:
        def crops(self, batch, size, generator):
            return torch.randn(batch, 2, size, size, generator=generator)

    loss = PriorLoss(Fake(), batch=9, size=4)
    values = [loss(Model(), torch.Generator().manual_seed(i)).item() for i in range(50)]
    t = torch.cat(seen).float()
    assert 0 <= t.min() < 30
    assert 970 < t.max() <= 999
    assert ((t < 500).float().mean() - 2 / 3).abs() < 0.03
    a = Model.abar[torch.cat(seen)]
    weight = (a / (1 - a)).sqrt().mean()  # of an error of one; w = 0 leaves the variance of z, which is one
    assert sum(values) / 50 == pytest.approx(float(weight), rel=0.1)
