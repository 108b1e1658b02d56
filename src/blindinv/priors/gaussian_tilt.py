"""The exact Gaussian prior of the simulator's tilt maps: a diffusion prior without a network."""

from torch import Tensor

from blindinv.kernels.tilt import tilt_power
from blindinv.operators.fourier import fft, ifft, size_of
from blindinv.schedule import Schedule


class GaussianTilt:
    """Maps of `tilt_maps` taken as a stationary Gaussian field, which they nearly are; any size and strength.

    Args:
        strength: of the turbulence, positive.
        schedule: of the diffusion.

    Raises:
        ValueError: strength is not positive.
    """

    def __init__(self, strength: float = 1.0, schedule: Schedule | None = None) -> None:
        if not 0 < strength < float("inf"):
            raise ValueError(f"the strength of turbulence must be positive and finite, got {strength}")
        self.strength, self.schedule = strength, schedule or Schedule.linear()
        self.scale = strength * float(tilt_power((64, 64)).mean().sqrt())

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (B, C, H, W): (B, 2, H, W)."""
        return (image[0], 2, *image[2:])

    def encode(self, tilt: Tensor) -> Tensor:
        """Displacements (B, 2, H, W) in pixels -> z, of about unit variance."""
        return tilt / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """z -> displacements (B, 2, H, W) in pixels."""
        return z * self.scale

    def denoise(self, z_t: Tensor, t: int) -> Tensor:
        """E[z_0 | z_t] = sqrt(abar) S / (abar S + 1 - abar) z_t, the Wiener filter of the maps' spectrum."""
        a, size = self.schedule.at(t), size_of(z_t)
        power = tilt_power(size, device=z_t.device)
        power = power / tilt_power((64, 64), device=z_t.device).mean()
        return ifft(a**0.5 * power / (a * power + 1 - a) * fft(z_t), size)
