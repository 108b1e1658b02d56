"""What the tests share: small scenes, exact priors, a real photo, and linear maps as dense matrices."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from blindinv.priors.autoencoder import PatchAutoencoder
from blindinv.priors.latent import LatentPrior
from blindinv.priors.oracle import GaussianPrior, OraclePrior
from blindinv.schedule import Schedule


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_scenes(count: int, channels: int, size: int, seed: int = 0) -> Tensor:
    """Images that are far from Gaussian: large flat blocks under binary dust, in [0.2, 0.8]."""
    g = generator(seed)
    blocks = F.interpolate(torch.rand(count, channels, size // 8, size // 8, generator=g), (size, size))
    dust = (torch.rand(count, channels, size, size, generator=g) < 0.5).float()
    return 0.2 + 0.3 * blocks + 0.3 * dust


class Counting:
    """A prior that counts what is asked of it, and how often a gradient goes back through its denoiser."""

    def __init__(self, prior: object) -> None:
        self.prior, self.count = prior, {"denoise": 0, "decode": 0, "encode": 0, "backward": 0}

    def __getattr__(self, name: str) -> object:
        return getattr(self.prior, name)

    def _add(self, name: str) -> None:
        self.count[name] += 1

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        self._add("denoise")
        z0 = self.prior.denoise(z_t, t)
        if z0.requires_grad:
            z0.register_hook(lambda g: self._add("backward"))
        return z0

    def decode(self, z: Tensor) -> Tensor:
        self._add("decode")
        return self.prior.decode(z)

    def encode(self, x: Tensor) -> Tensor:
        self._add("encode")
        return self.prior.encode(x)


class SmoothDenoiser(torch.nn.Module):
    """Not a good denoiser, but a smooth function of z_t and t that looks at neighbours and channels."""

    def __init__(self, channels: int, abar: Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.abar = torch.nn.Conv2d(channels, channels, 3, padding=1), abar.float()

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        a = self.abar[t].view(-1, 1, 1, 1)
        return a.sqrt() * z + 0.3 * (1 - a) * torch.tanh(self.conv(z))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def schedule() -> Schedule:
    return Schedule.scaled_linear()


@pytest.fixture(scope="session")
def scenes() -> Callable[..., Tensor]:
    return make_scenes


@pytest.fixture(scope="session")
def oracle(schedule: Schedule) -> OraclePrior:
    """24 scenes of 3x48x48."""
    return OraclePrior(make_scenes(24, 3, 48), schedule)


@pytest.fixture(scope="session")
def small_oracle(schedule: Schedule) -> OraclePrior:
    """Six scenes of 3x16x16."""
    return OraclePrior(make_scenes(6, 3, 16), schedule)


@pytest.fixture(scope="session")
def gaussian(schedule: Schedule) -> GaussianPrior:
    """A field of 1x12x16 with a falling, not quite radial spectrum, in float64."""
    fy, fx = torch.fft.fftfreq(12, dtype=torch.float64)[:, None], torch.fft.rfftfreq(16, dtype=torch.float64)[None]
    return GaussianPrior(0.01 / (0.05 + 2 * fy.square() + fx.square()), 1, 16, schedule)


@pytest.fixture(scope="session")
def latent_prior(schedule: Schedule) -> LatentPrior:
    """An untrained latent prior with an encoder that is not the inverse of the decoder."""
    torch.manual_seed(0)
    autoencoder = PatchAutoencoder(4, (8, 8))
    autoencoder.init_pca(2 * make_scenes(16, 3, 16) - 1)
    torch.nn.init.normal_(autoencoder.decoder_out.weight, std=0.02)
    return LatentPrior(autoencoder, SmoothDenoiser(4, schedule.abar), schedule, 4, 4, 0.1, 1.2).requires_grad_(False)


@pytest.fixture(scope="session")
def counting() -> type[Counting]:
    return Counting


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    """A real photo, (1, 3, 256, 256) in [0, 1]."""
    x = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(x, (256, 256), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.fixture(scope="session")
def dense() -> Callable[[Callable[[Tensor], Tensor], tuple[int, ...]], Tensor]:
    """dense(f, (C, H, W)): the matrix of a linear map of one image, in float64."""

    def matrix(f: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
        n = int(torch.tensor(shape).prod())
        basis = torch.eye(n, dtype=torch.float64).view(n, *shape)
        return torch.stack([f(e[None]).flatten() for e in basis], 1)

    return matrix


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
