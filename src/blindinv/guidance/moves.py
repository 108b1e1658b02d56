"""From a loss to a move of the sampler. The only place that differentiates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindinv.operators.convolution import Convolution, wiener
from blindinv.operators.fourier import Spectrum
from blindinv.protocols import Estimate, Guided, Loss


def _gradients(loss: Loss, e: Estimate) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The loss, (B,), and d loss / d z_t of the image and of each diffused part of phi: one backward pass for them all."""
    value = loss(e)
    gradients = torch.autograd.grad(value.sum(), [e.z, *(part.z for part in e.parts.values())], allow_unused=True)
    image, *parts = (g if g is not None else torch.zeros(()) for g in gradients)
    return value.detach(), image, dict(zip(e.parts, parts, strict=True))


def constant(t: int) -> float:
    """No annealing."""
    return 1.0


@dataclass(frozen=True)
class Descend:
    """After the reverse step: z_s <- z_s - rate scale(t) grad loss (DPS; PSLD; algorithm 1 of LatentDEM and of BlindDPS).

    Diffused parts of phi move along their own gradients of the same loss.

    Args:
        loss: of the posterior mean.
        scale: weight of the likelihood at t; 1 / zeta_t of LatentDEM's eq. 9 for annealing consistency.
        parts: step sizes of diffused parts at their own t, by name; a part that is not named moves as far as the image may.
        noise: the loss that the noise of y alone has, (B,): if given, `rate` is for the image no longer than Polyak's step,
            (loss - noise) / |grad|^2, which is where the linearised loss comes down to that. Runs of few, long steps need it.
        rate: step size where `scale` is 1.
    """

    loss: Loss
    scale: Callable[[int], float] = constant
    parts: Mapping[str, Callable[[int], float]] = field(default_factory=dict)
    noise: Callable[[Estimate], Tensor] | None = None
    rate: float = 1.0
    needs_grad: bool = True

    def __call__(self, e: Estimate) -> Guided:
        """Keeps z0, asks for shifts."""
        value, image, parts = _gradients(self.loss, e)
        rates = {k: self.parts[k](e.parts[k].t) if k in self.parts else self.rate * self.scale(e.t) for k in parts}
        length: Tensor | float = self.rate
        if self.noise is not None:
            polyak = (value - self.noise(e)).clamp(min=0) / image.square().sum((-3, -2, -1)).clamp(min=1e-12)
            length = polyak.clamp(max=self.rate).view(-1, 1, 1, 1)
        return Guided(e.z0, self.scale(e.t) * length * image, e.x0, {k: rates[k] * g for k, g in parts.items()})


@dataclass(frozen=True)
class Score:
    """Adds -scale(t) grad loss to the score: z0 <- z0 - scale (1 - abar) / sqrt(abar) grad loss (LatentDEM, eq. 6).

    Args:
        loss: minus a log-likelihood.
        scale: of the likelihood.
        finish: if given, the image estimate that is reported (and finally returned) has this data step applied.
    """

    loss: Loss
    scale: Callable[[int], float] = constant
    finish: "Proximal | None" = None
    needs_grad: bool = True

    def __call__(self, e: Estimate) -> Guided:
        """Moves z0."""
        factor = self.scale(e.t) * (1 - e.abar) / e.abar**0.5
        z0 = e.z0.detach() - factor * _gradients(self.loss, e)[1]
        x = e.x0.detach()
        return Guided(z0, None, x if self.finish is None else self.finish.data_step(e, x))


@dataclass(frozen=True)
class Proximal:
    """Closed-form data step in pixel space, carried to the latents by difference (no gradient, no backward pass).

    x1 = x0 + F^-1[conj(K) R_t / (|K|^2 R_t + sigma^2) F(y - k * x0)],    z0 <- z0 + E(x1) - E(x0)

    The difference of encodings cancels, to first order, what the autoencoder loses on a round trip.
    Reference: Zhu et al., "Denoising diffusion models for plug-and-play image restoration" (DiffPIR), 2023,
    with the constant sigma_t replaced by the prior's measured error spectrum.

    Args:
        A: forward model.
        spectrum: R_t.
        encode: the prior's encoder.
        inflate: factor on sigma, for an imperfect kernel.
    """

    A: Convolution
    spectrum: Spectrum
    encode: Callable[[Tensor], Tensor]
    inflate: float = 1.0
    needs_grad: bool = False

    def data_step(self, e: Estimate, x: Tensor) -> Tensor:
        """x1 of the formula."""
        power = self.spectrum(e.t, (x.shape[-2], x.shape[-1]), x.device)
        return wiener(self.A, e.y, e.phi, power, self.inflate * e.sigma, x)

    def __call__(self, e: Estimate) -> Guided:
        """Moves z0 without a gradient."""
        x1 = self.data_step(e, e.x0)
        return Guided(e.z0 + self.encode(x1) - self.encode(e.x0), None, x1)
