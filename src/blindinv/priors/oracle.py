"""Exact priors, for tests and for teaching: their posterior means are formulas, not networks.

Both work on pixels, z = 2 x - 1, so that whatever a solver gets wrong is the solver's own.
"""

import torch
from torch import Tensor

from blindinv.operators.fourier import Spectrum, fft, ifft
from blindinv.priors.latent import measure_spectrum
from blindinv.schedule import Schedule


class _Pixels:
    """What both priors share: a fixed image size, and z = 2 x - 1."""

    def __init__(self, image: tuple[int, ...], schedule: Schedule) -> None:
        self.image, self.schedule = image, schedule

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (B, C, H, W): the same.

        Raises:
            ValueError: this prior only knows images of another size.
        """
        if tuple(image[1:]) != self.image:
            raise ValueError(f"this prior knows images of (C, H, W) = {self.image}, got {tuple(image[1:])}")
        return tuple(image)

    def encode(self, x: Tensor) -> Tensor:
        """Images in [0, 1] -> z in [-1, 1]."""
        return 2 * x - 1

    def decode(self, z: Tensor) -> Tensor:
        """z -> images, about [0, 1], not clipped."""
        return 0.5 + 0.5 * z


class OraclePrior(_Pixels):
    """Knows every image there is: a finite set, each equally likely, plus a little white noise.

    p(x) = 1/N sum_i N(x; x_i, w^2) is far from Gaussian, and with v_t = abar_t (2 w)^2 + 1 - abar_t

    E[z_0 | z_t] = sum_i p_i (z_i + sqrt(abar_t) (2 w)^2 / v_t (z_t - sqrt(abar_t) z_i)),
    p_i = softmax_i(-|z_t - sqrt(abar_t) z_i|^2 / (2 v_t)).

    Args:
        images: x_i, (N, C, H, W) in [0, 1].
        schedule: of the diffusion; it may be any.
        width: w, standard deviation of the noise on [0, 1].

    Attributes:
        spectrum: error spectrum R_t of the posterior mean, measured on draws from p.
    """

    def __init__(self, images: Tensor, schedule: Schedule, width: float = 0.02) -> None:
        super().__init__(tuple(images.shape[1:]), schedule)
        self.z, self.variance = self.encode(images), (2 * width) ** 2
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        self.spectrum = measure_spectrum(self, images + width * noise.to(images))

    def posterior(self, z_t: Tensor, t: int) -> Tensor:
        """(B, N): the probability that z_t came from each of the images."""
        a = self.schedule.at(t)
        z_i = (a**0.5 * self.z.to(z_t)).flatten(1)
        distance = (z_t.flatten(1)[:, None] - z_i).square().sum(-1)
        return (-distance / (2 * (a * self.variance + 1 - a))).softmax(1)

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t], exact and differentiable."""
        a = self.schedule.at(t)
        mean = (self.posterior(z_t, t) @ self.z.to(z_t).flatten(1)).view_as(z_t)
        return mean + a**0.5 * self.variance / (a * self.variance + 1 - a) * (z_t - a**0.5 * mean)


class _PosteriorSpectrum(Spectrum):
    """The exact error spectrum of `GaussianPrior` at its own size; it needs no rings and no interpolation."""

    def __init__(self, power: Tensor, schedule: Schedule) -> None:
        super().__init__([], power)
        self.schedule = schedule

    def __call__(self, t: float, size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """(H, W // 2 + 1)."""
        a = self.schedule.at(int(t))
        return ((1 - a) * self.power / (4 * a * self.power + 1 - a)).to(device)


class GaussianPrior(_Pixels):
    """A stationary Gaussian field on the torus, channels independent: every step of its diffusion has a closed form.

    Args:
        power: power spectrum of the images on [0, 1], orthonormal half plane (H, W // 2 + 1).
        channels: C.
        width: W, which the half plane leaves open.
        schedule: of the diffusion.
        mean: of all pixels.

    Attributes:
        spectrum: error spectrum R_t of the posterior mean, exact.
    """

    def __init__(self, power: Tensor, channels: int, width: int, schedule: Schedule, mean: float = 0.5) -> None:
        super().__init__((channels, len(power), width), schedule)
        self.power, self.mean = power, 2 * mean - 1
        self.spectrum = _PosteriorSpectrum(power, schedule)

    def _filter(self, z: Tensor, gain: Tensor) -> Tensor:
        return ifft(gain.to(z) * fft(z), self.image[1:])  # type: ignore[arg-type]

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t] = m + sqrt(abar) S / (abar S + 1 - abar) (z_t - sqrt(abar) m), the Wiener filter."""
        a, S = self.schedule.at(t), 4 * self.power
        return self.mean + self._filter(z_t - a**0.5 * self.mean, a**0.5 * S / (a * S + 1 - a))

    def flow(self, z_t: Tensor, t: int, s: int) -> Tensor:
        """z_s on the path of the probability-flow ODE through z_t: what DDIM with ever smaller steps tends to.

        z_s = sqrt(abar_s) m + ((abar_s S + 1 - abar_s) / (abar_t S + 1 - abar_t))^(1/2) (z_t - sqrt(abar_t) m)

        Reference: Song et al., "Score-based generative modeling through stochastic differential equations", 2021, eq. 13.
        """
        a, b, S = self.schedule.at(t), self.schedule.at(s), 4 * self.power
        return b**0.5 * self.mean + self._filter(z_t - a**0.5 * self.mean, ((b * S + 1 - b) / (a * S + 1 - a)).sqrt())
