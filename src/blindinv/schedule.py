"""The noise schedule of a diffusion prior: z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) n."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """Variance-preserving schedule on the T training steps of a prior (Ho et al., DDPM, 2020).

    Args:
        abar: (T,) float64, cumulative products of 1 - beta, falling from about 1 to about 0.
        final: value of abar at t = -1, the end of the reverse diffusion: 1 unless the model was trained otherwise.
    """

    abar: Tensor
    final: float = 1.0

    @classmethod
    def scaled_linear(cls, steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> "Schedule":
        """Stable Diffusion's schedule: sqrt(beta) linear in t."""
        return cls.from_betas(torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2)

    @classmethod
    def linear(cls, steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> "Schedule":
        """DDPM's schedule: beta linear in t."""
        return cls.from_betas(torch.linspace(start, end, steps, dtype=torch.float64))

    @classmethod
    def from_betas(cls, betas: Tensor) -> "Schedule":
        """From the (T,) variances beta_t in (0, 1)."""
        return cls(torch.cumprod(1 - betas.double(), 0))

    def __len__(self) -> int:
        return len(self.abar)

    def at(self, t: int) -> float:
        """abar_t as a Python float; t = -1 is the clean end.

        Raises:
            ValueError: t is outside -1 .. T - 1.
        """
        if not -1 <= t < len(self.abar):
            raise ValueError(f"t = {t} is outside -1..{len(self.abar) - 1}")
        return self.final if t < 0 else float(self.abar[t])

    def timesteps(self, n: int, start: int | None = None) -> list[int]:
        """n steps from `start` (default T - 1) down to 0, evenly spaced, each once.

        Raises:
            ValueError: n is not in 1 .. start + 1.
        """
        start = len(self) - 1 if start is None else start
        if not 1 <= n <= start + 1:
            raise ValueError(f"{n} steps do not fit in t = {start}..0")
        return [round(t) for t in torch.linspace(start, 0, n, dtype=torch.float64).tolist()]
