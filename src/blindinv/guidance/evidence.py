"""How well a kernel explains the observation, with the prior's own error as the yardstick."""

import torch
from torch import Tensor

from blindinv.operators.fourier import fft, half_plane_weights, otf
from blindinv.operators.noise import level
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.protocols import randn


@torch.no_grad()
def log_evidence(problem: Deblurring, prior: LatentPrior, k: Tensor, x: Tensor, t: int, rng: list[torch.Generator]) -> Tensor:
    """log p(y | k) per pixel and up to a constant, where x - x0 has the error spectrum R_t of the prior, (B,).

    x is noised to t and denoised to x0, which takes away what a wrong kernel put in; then with C = |K|^2 R_t + sigma^2

        log p(y | k) = -1/2 r^H C^-1 r - 1/2 log det C,    r = y - k * x0.

    The determinant is what a plain residual lacks: a kernel close to a delta fits anything, and pays for it there.
    On free borders the quadratic form is exact (conditional fill) and the determinant is that of the torus, scaled.

    Args:
        problem: what to deblur.
        prior: with an error spectrum.
        k: (B, 1, n, n) candidates.
        x: (B, 3, H', W') estimates made with them, on the canvas.
        t: timestep of the test.
        rng: one generator per sample; the same for all candidates.
    """
    assert prior.spectrum is not None
    size, abar = problem.canvas, prior.schedule.at(t)
    z = prior.encode(x)
    noise = randn(tuple(z.shape), rng, z.device)
    x0 = prior.decode(prior.denoise(abar**0.5 * z + (1 - abar) ** 0.5 * noise, t))
    c = otf(k, size).abs().square() * prior.spectrum(t, size, x.device) + level(problem.sigma).square()
    r = fft(problem.A.residual(problem.y, x0, k, c)).abs().square().mean(1, keepdim=True)
    half = half_plane_weights(size[1], x.device)
    seen = problem.y.shape[-2] * problem.y.shape[-1]
    fit = (r / c * half).sum((-3, -2, -1)) / seen
    volume = (c.log() * half).sum((-3, -2, -1)) / (size[0] * size[1])
    return -0.5 * (fit + volume)
