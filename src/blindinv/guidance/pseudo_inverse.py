"""Guidance through the regularised pseudo-inverse (PiGDM)."""

from dataclasses import dataclass

import torch

from blindinv.guidance.losses import Spectral
from blindinv.operators.convolution import Convolution
from blindinv.operators.fourier import Spectrum, fft, size_of
from blindinv.problem import Deblurring
from blindinv.protocols import Estimate, Guided, Prior, generators, randn

SMALL = 0.1


class Isotropic(Spectrum):
    """R_t = (1 - abar_t) G(f): the covariance of decode(z) for z of covariance r_t^2 = 1 - abar_t, PiGDM's assumption.

    G is the power that the decoder makes of small white noise. Pixels on [-1, 1] have G = 1/4, which is the published
    formula on the [0, 1] scale of images; a latent model's decoder colours the noise, and its G is measured here.

    Args:
        prior: whose decoder and schedule.
        image: (C, H, W) of the images on which G is measured.
        device: of the prior.

    Attributes:
        clean: G.
    """

    def __init__(self, prior: Prior, image: tuple[int, int, int], device: torch.device | str = "cpu") -> None:
        z = torch.zeros(prior.shape((1, *image)), device=device)
        noise = randn(tuple(z.shape), generators(0, 1, device), device)
        with torch.no_grad():
            x = (prior.decode(z + SMALL * noise) - prior.decode(z)) / SMALL
        power = Spectrum.rings(fft(x).abs().square().mean((0, 1)), size_of(x))
        super().__init__([0], power[None])
        self.schedule, self.clean = prior.schedule, Spectrum([0], power[None])

    def __call__(self, t: float, size: tuple[int, int], device: torch.device | str = "cpu") -> torch.Tensor:
        """(H, W // 2 + 1)."""
        return (1 - self.schedule.at(int(t))) * super().__call__(0, size, device)


def isotropic(prior: Prior, problem: Deblurring) -> Isotropic:
    """`Isotropic` for the images of a problem."""
    return Isotropic(prior, (problem.y.shape[1], *problem.canvas), problem.y.device)


def error_spectrum(prior: Prior, problem: Deblurring) -> Spectrum:
    """R_t as it was measured for the prior; for one without, `Isotropic`."""
    measured = getattr(prior, "spectrum", None)
    return isotropic(prior, problem) if measured is None else measured


@dataclass(frozen=True)
class PseudoInverse:
    """z_s <- z_s + eta (d z0 / d z_t)^T A^T (A R_t A^T + sigma^2)^-1 (y - A x0), eta = sqrt(abar_t) (1 - abar_t) or less.

    The vector-Jacobian product goes through network and decoder. With H its Gauss-Newton matrix, J J^T A^T C^-1 A, the steps
    contract where eta H < 2. In a Gaussian world H is known and fits R_t; a network's Jacobian at an edge does not: for
    the prior "photos" eta H goes up to 175 with r_t^2 = 1 - abar_t and to 18 with the measured R_t (as in `Score`, where
    it goes up to 700, and steps with zeta = 0.3 diverge). So eta is at most Polyak's (f - f*) / |grad f|^2, for
    f = r^H C^-1 r / 2 and f* its mean for the true image.

    Reference: Song et al., "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023, eqs. 7-8, algorithm 1;
    Polyak, "Introduction to optimization", 1987, section 5.3.2.

    Args:
        A: forward model.
        spectrum: R_t, `Isotropic` as published.
        safe: whether eta has that bound.
    """

    A: Convolution
    spectrum: Spectrum
    safe: bool = True
    needs_grad: bool = True

    def __call__(self, e: Estimate) -> Guided:
        """Keeps z0, asks for a shift."""
        loss = Spectral(self.A, self.spectrum)
        (gradient,) = torch.autograd.grad(loss(e).sum(), e.z)
        eta = torch.full_like(gradient[:, :1, :1, :1], e.abar**0.5 * (1 - e.abar))
        if self.safe:
            polyak = loss.excess(e).clamp(min=0) / gradient.square().sum((-3, -2, -1)).clamp(min=1e-12)
            eta = torch.minimum(eta, polyak.view(-1, 1, 1, 1))
        return Guided(e.z0, eta * gradient, e.x0)
