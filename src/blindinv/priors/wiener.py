"""A stationary Gaussian model of latents, and a network that is preconditioned by its exact denoiser.

The posterior mean under a stationary Gaussian prior is the Wiener filter. A network that only learns what the
Wiener filter misses starts where the classical method ends:

    x_0 = w + c_t F((z_t - sqrt(abar) w) / sqrt(1 - abar), w, t),     w = S (S + (1 - abar)/abar)^-1 z_t / sqrt(abar)

with S(f) the C x C cross-spectrum of the latents at frequency f and c_t the known error of w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.operators.fourier import half_plane_weights

GRID = 64


def _forget(model: nn.Module, keys: object) -> None:
    """After new weights are loaded, the eigenvectors of the old ones are stale."""
    assert isinstance(model, StationaryGaussian)
    model._cache.clear()


class StationaryGaussian(nn.Module):
    """Cross-spectrum of C-channel fields, on a grid x grid frequency grid, usable at any size.

    Args:
        channels: C.
        grid: frequencies per axis; best the size in pixels that is used most.
    """

    spectrum: Tensor

    def __init__(self, channels: int, grid: int = GRID) -> None:
        super().__init__()
        self.grid = grid
        eye = torch.eye(channels).repeat(grid, grid // 2 + 1, 1, 1)
        self.register_buffer("spectrum", torch.stack([eye, torch.zeros_like(eye)], -1))
        self._cache: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.register_load_state_dict_post_hook(_forget)

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Estimate the spectrum from `z`, (N, C, grid, grid)."""
        power = torch.zeros(self.grid, self.grid // 2 + 1, z.shape[1], z.shape[1], dtype=torch.complex64)
        for part in z.split(64):
            f = torch.fft.rfft2(part, norm="ortho").permute(2, 3, 1, 0)
            power += f @ f.mH
        power /= len(z)
        # A little smoothing over neighbouring frequencies; the mean is kept apart.
        flat = torch.view_as_real(power).flatten(2).permute(2, 0, 1)[:, None]
        flat = F.pad(F.pad(flat, (0, 0, 1, 1), mode="circular"), (1, 1, 0, 0), mode="reflect")
        weights = torch.tensor([[1.0, 2, 1], [2, 8, 2], [1, 2, 1]]) / 20
        smooth = F.conv2d(flat, weights[None, None])[:, 0].permute(1, 2, 0).reshape(*power.shape, 2).contiguous()
        smooth[0, 0] = torch.view_as_real(power)[0, 0]
        smooth = torch.view_as_complex(smooth)
        self.spectrum.copy_(torch.view_as_real((smooth + smooth.mH) / 2))
        self._cache.clear()

    def _eigen(self, h: int, w: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Eigenvalues (h, w//2+1, C) and eigenvectors (h, w//2+1, C, C) of the spectrum at this size."""
        if (h, w) not in self._cache or self._cache[h, w][0].device != device:
            row = (torch.fft.fftfreq(h, dtype=torch.float64) % 1) * self.grid
            col = torch.fft.rfftfreq(w, dtype=torch.float64) * self.grid
            s = torch.view_as_complex(self.spectrum.detach().cpu().float().contiguous())
            lo, a = row.long(), (row % 1).float()[:, None, None, None]
            s = (1 - a) * s[lo % self.grid] + a * s[(lo + 1) % self.grid]
            lo, a = col.long(), (col % 1).float()[None, :, None, None]
            s = (1 - a) * s[:, lo] + a * s[:, (lo + 1).clamp(max=self.grid // 2)]
            values, vectors = torch.linalg.eigh(s)
            self._cache[h, w] = values.clamp(min=1e-5).to(device), vectors.to(device)
        return self._cache[h, w]

    def forward(self, z_t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior mean of z_0 and its error.

        Args:
            z_t: (B, C, h, w).
            abar: (B,).

        Returns:
            w (B, C, h, w) and the root mean square error per channel (B, C, 1, 1).
        """
        h, w = z_t.shape[-2:]
        values, vectors = self._eigen(h, w, z_t.device)
        a = abar.to(values.dtype).view(-1, 1, 1, 1)
        q = torch.einsum("hwcj,bchw->bhwj", vectors.conj(), torch.fft.rfft2(z_t, norm="ortho"))
        q = q * (a.sqrt() * values / (a * values + 1 - a))
        mean = torch.fft.irfft2(torch.einsum("hwcj,bhwj->bchw", vectors, q), (h, w), norm="ortho")
        weight = half_plane_weights(w, z_t.device)
        left = ((1 - a) * values / (a * values + 1 - a)) * weight[:, None] / (h * w)
        error = torch.einsum("hwcj,bhwj->bc", vectors.abs().square(), left).sqrt()
        return mean, error[..., None, None]


class WienerDenoiser(nn.Module):
    """Posterior mean of z_0: the Wiener filter plus a learned correction.

    Args:
        network: called as `network(cat[residual, w], t)`, 2C channels in and C out (a tensor or an object with `.sample`).
        channels: C.
        abar: (T,) the noise schedule.
        grid: of the `StationaryGaussian`.
    """

    abar: Tensor

    def __init__(self, network: nn.Module, channels: int, abar: Tensor, grid: int = GRID) -> None:
        super().__init__()
        self.network, self.gaussian = network, StationaryGaussian(channels, grid)
        self.register_buffer("abar", abar.float(), persistent=False)

    def correction(self, z_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(w, c_t, F) of the formula above; t is (B,), integer."""
        abar = self.abar[t]
        a = abar.view(-1, 1, 1, 1)
        with torch.autocast(z_t.device.type, enabled=False):
            w, c = self.gaussian(z_t, abar)
        x = torch.cat([(z_t - a.sqrt() * w) / (1 - a).sqrt(), w], 1).contiguous(memory_format=torch.channels_last)
        out = self.network(x, t)
        return w, c, getattr(out, "sample", out)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """E[z_0 | z_t], (B, C, h, w); t is (B,), integer."""
        w, c, f = self.correction(z_t, t)
        return w + c * f
