"""Our solvers where deepinv expects a `Reconstructor`: `BlindDeblurring("latentdem")(y, physics)`."""

from typing import Any

import torch
import torch.nn.functional as F
from deepinv.models import Reconstructor
from deepinv.physics import Blur, BlurFFT, Physics
from torch import Tensor

from blindinv.deblur import deblur, find_method
from blindinv.kernels.measure import resize_support
from blindinv.problem import Result

LEAST = 9


class BlindDeblurring(Reconstructor):
    """A method of `blindinv methods` as a `deepinv.models.Reconstructor`.

    What the physics knows is used: the level of its Gaussian noise and the gain of its Poisson noise, whether its borders are
    circular, and, for methods that are not blind or with `blind=False`, its filter. Where there is none of these, noise
    and borders are found in y. The image is as large as y.

    Args:
        method: its name.
        kernel_size: of the kernel to be found, 9 to 129.
        blind: False gives the method the filter of the physics.
        steps: of the reverse diffusion; None: the method's own.
        prior, denoiser, refiner, kernel_prior, restorer: networks, see `deblur`; None: the shipped ones.
        seed: of all random numbers.

    Raises:
        ValueError: an unknown method.
    """

    def __init__(
        self,
        method: str = "latentdem",
        kernel_size: int = 64,
        *,
        blind: bool = True,
        steps: int | None = None,
        prior: Any = None,
        denoiser: Any = None,
        refiner: Any = None,
        kernel_prior: Any = None,
        restorer: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.method, self.kernel_size, self.steps, self.seed = find_method(method), kernel_size, steps, seed
        self.blind = blind and not getattr(self.method, "known", False)
        self.models = {
            "prior": prior,
            "denoiser": denoiser,
            "refiner": refiner,
            "kernel_prior": kernel_prior,
            "restorer": restorer,
        }

    def forward(self, y: Tensor, physics: Physics | None = None, **kwargs: Any) -> Tensor:
        """The image (B, C, H, W) in [0, 1]; what deepinv's trainers pass besides is not used."""
        return self.estimate(y, physics).image

    def estimate(self, y: Tensor, physics: Physics | None = None) -> Result:
        """Image and kernel.

        Args:
            y: (B, C, H, W) in [0, 1], three channels or one.
            physics: whose noise, borders and (not blind) filter are used.

        Raises:
            ValueError: another number of channels, a blur that is not one kernel, or what `deblur` refuses.
        """
        if y.shape[1] not in (1, 3):
            raise ValueError(f"y must have one channel or three, got {y.shape[1]}")
        sigma, gain, normalized = _noise(physics)
        y, photons = (y if normalized or gain is None else y * gain), (None if gain is None else 1 / gain)
        result = deblur(
            y.expand(-1, 3, -1, -1),
            method=self.method,
            **self.models,
            kernel_size=self.kernel_size,
            sigma=sigma,
            photons=photons,
            circular=_circular(physics, y),
            kernel=None if self.blind else _kernel(physics).to(y),
            steps=self.steps,
            seed=self.seed,
        )
        image = result.image if y.shape[1] == 3 else result.image.mean(1, keepdim=True)
        return Result(image, result.kernel, result.sigma, result.history)


def _noise(physics: Physics | None) -> tuple[Tensor | None, float | None, bool]:
    """Level of Gaussian noise, gain of Poisson noise, and whether counts were multiplied by the gain."""
    model = getattr(physics, "noise_model", None)
    sigma, gain = getattr(model, "sigma", None), getattr(model, "gain", None)
    if isinstance(gain, Tensor) and gain.numel() != 1:
        raise ValueError("the gain of the Poisson noise must be one number")
    return sigma, None if gain is None else float(gain), bool(getattr(model, "normalize", True))


def _circular(physics: Physics | None, y: Tensor) -> bool | None:
    """Borders of the physics; None where it does not say. Circular ones need sizes that are multiples of 16."""
    if isinstance(physics, BlurFFT) or (isinstance(physics, Blur) and physics.padding == "circular"):
        return all(n % 16 == 0 for n in y.shape[-2:])
    return False if isinstance(physics, Blur) else None


def _kernel(physics: Physics | None) -> Tensor:
    """The filter of the physics on a square of odd width, 9 or more, (1 or B, 1, n, n)."""
    k = getattr(physics, "filter", None)
    if not isinstance(k, Tensor) or k.ndim != 4 or k.shape[1] != 1:
        raise ValueError("a method that is not blind needs a physics with one filter (B, 1, n, n), such as deepinv.physics.Blur")
    n = max(LEAST, *k.shape[-2:])
    n += 1 - n % 2
    top, left = (n // 2 - s // 2 for s in k.shape[-2:])
    k = F.pad(k, (left, n - k.shape[-1] - left, top, n - k.shape[-2] - top))
    if (k < 0).any() or not torch.allclose(k.sum((-2, -1)), torch.ones(()).to(k), atol=1e-2):
        raise ValueError("the filter must not be negative and must sum to 1")
    return resize_support(k, n)
