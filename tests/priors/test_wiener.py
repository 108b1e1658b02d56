"""The stationary Gaussian model of latents against dense algebra."""

import pytest
import torch

from blindinv.priors.wiener import GRID, StationaryGaussian, WienerDenoiser


def correlated_field(count, seed=0):
    """Two-channel stationary fields on the grid: blurred white noise with channels mixed, and the blur's dense kernel."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 2, GRID, GRID, generator=g)
    mixed = torch.stack([noise[:, 0], 0.6 * noise[:, 0] + 0.8 * noise[:, 1]], 1)
    return 0.5 * (mixed + mixed.roll(1, -1) + mixed.roll(1, -2) + mixed.roll((1, 1), (-2, -1)))


def dense_covariance(h, w):
    """Covariance of the same construction on an h x w torus, (2hw, 2hw)."""
    n = h * w
    basis = torch.eye(2 * n, dtype=torch.float64).view(2 * n, 2, h, w)
    mixed = torch.stack([basis[:, 0], 0.6 * basis[:, 0] + 0.8 * basis[:, 1]], 1)
    M = (0.5 * (mixed + mixed.roll(1, -1) + mixed.roll(1, -2) + mixed.roll((1, 1), (-2, -1)))).flatten(1).T
    return M @ M.T


@pytest.fixture(scope="module")
def fitted():
    model = StationaryGaussian(2)
    model.fit(correlated_field(600))
    return model


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (7, 9)])
@pytest.mark.parametrize("abar", [0.9, 0.5, 0.1])
def test_fit_and_forward_are_the_dense_wiener_filter(fitted, size, abar):
    """Also at sizes other than the one it was fitted at; the spectrum is estimated and smoothed, so within a few per cent."""
    S, n = dense_covariance(*size), 2 * size[0] * size[1]
    eye = torch.eye(n, dtype=torch.float64)
    z_t = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(1))
    expected = abar**0.5 * S @ torch.linalg.solve(abar * S + (1 - abar) * eye, z_t.double().flatten())
    mean, error = fitted(z_t, torch.tensor([abar]))
    difference = (mean.flatten() - expected).norm() / expected.norm()
    assert difference < 0.06
    left = (S - abar * S @ torch.linalg.solve(abar * S + (1 - abar) * eye, S)).diagonal().view(2, -1).mean(1).sqrt()
    torch.testing.assert_close(error.flatten().double(), left, rtol=0.05, atol=0)


def test_the_error_is_the_error(fitted):
    z, abar = correlated_field(40, seed=5), 0.6
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(6))
    mean, error = fitted(abar**0.5 * z + (1 - abar) ** 0.5 * noise, torch.full((40,), abar))
    torch.testing.assert_close((mean - z).square().mean((0, 2, 3)).sqrt(), error[0].flatten(), rtol=0.03, atol=0)


def test_unfitted_it_is_white(schedule):
    z = torch.randn(2, 3, 8, 8)
    mean, error = StationaryGaussian(3)(z, torch.tensor([0.64, 0.64]))
    torch.testing.assert_close(mean, 0.8 * z)
    torch.testing.assert_close(error, torch.full((2, 3, 1, 1), 0.6))


def test_samples_have_their_own_noise_level(fitted):
    z, abar = correlated_field(3)[..., :16, :16], torch.tensor([0.9, 0.5, 0.1])
    mean, error = fitted(z, abar)
    for b in range(3):
        alone = fitted(z[b : b + 1], abar[b : b + 1])
        torch.testing.assert_close(mean[b : b + 1], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(error[b : b + 1], alone[1], atol=1e-5, rtol=0)


def test_the_filter_keeps_its_spectrum_in_a_state_dict(fitted):
    other = StationaryGaussian(2)
    z = correlated_field(1)
    before = other(z, torch.tensor([0.5]))[0]
    other.load_state_dict(fitted.state_dict())
    assert not torch.allclose(before, other(z, torch.tensor([0.5]))[0])
    torch.testing.assert_close(other(z, torch.tensor([0.5]))[0], fitted(z, torch.tensor([0.5]))[0])


def test_loading_a_spectrum_takes_effect_at_once(fitted):
    """A model that was used before its weights were loaded must not go on with the old filter."""
    other, z = StationaryGaussian(2), correlated_field(1)
    other(z, torch.tensor([0.5]))
    other.load_state_dict(fitted.state_dict())
    torch.testing.assert_close(other(z, torch.tensor([0.5]))[0], fitted(z, torch.tensor([0.5]))[0])


class Spy(torch.nn.Module):
    def forward(self, x, t):
        self.seen = x
        return x[:, :2]


def test_wiener_denoiser_is_the_filter_plus_its_error_times_the_network(fitted, schedule):
    """w + c F((z_t - sqrt(abar) w) / sqrt(1 - abar), w)."""
    model = WienerDenoiser(Spy(), 2, schedule.abar)
    model.gaussian = fitted
    z, t = correlated_field(2)[..., :16, :16], torch.tensor([100, 700])
    a = schedule.abar[t].float().view(-1, 1, 1, 1)
    w, c = fitted(z, a.flatten())
    residual = (z - a.sqrt() * w) / (1 - a).sqrt()
    torch.testing.assert_close(model(z, t), w + c * residual)
    torch.testing.assert_close(model.network.seen, torch.cat([residual, w], 1))
