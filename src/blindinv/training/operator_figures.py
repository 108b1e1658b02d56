"""Pictures of the operators' diffusion priors: samples from nothing, beside what they were trained on."""

import torch
from PIL import Image
from torch import Tensor

from blindinv.kernels.mixture import mixed_kernels
from blindinv.kernels.tilt import tilt_maps
from blindinv.priors.kernel_diffusion import KernelDiffusion
from blindinv.priors.tilt import TiltDiffusion
from blindinv.training.figures import sheet
from blindinv.training.sampling import sample_states

GAMMA = 0.6


def kernel_pictures(k: Tensor, zoom: int = 1) -> Tensor:
    """Kernels (B, 1, n, n) as pictures in [0, 1]: over their maximum, a little brightened, enlarged `zoom` times."""
    k = (k / k.amax((-2, -1), keepdim=True)).clamp(min=0) ** GAMMA
    return k.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)


def kernel_samples_picture(prior: KernelDiffusion, columns: int = 8, rows: int = 3, seed: int = 0) -> Image.Image:
    """Unconditional samples of a kernel prior, and a row of kernels of its training set's kind."""
    device = next(prior.parameters()).device
    z = sample_states(prior, prior.shape((columns * rows,)), 100, seed, 1.0, device)
    drawn, zoom = kernel_pictures(prior.decode(z), max(1, 96 // prior.size)), max(1, 96 // prior.size)
    like = mixed_kernels(columns, prior.size, torch.Generator().manual_seed(seed + 1))
    strips = [("" if i else "unconditional samples, 100 DDIM steps, eta 1", part) for i, part in enumerate(drawn.split(columns))]
    return sheet([*strips, ("kernels of the training set's kind", kernel_pictures(like, zoom))])


def tilt_pictures(tilt: Tensor, largest: float = 1.25) -> Tensor:
    """One component of displacements (B, 2, H, W) as pictures (B, 1, H, W): grey is 0, white `largest` pixels."""
    return 0.5 + 0.5 * (tilt[:, :1] / largest).clamp(-1, 1)


def tilt_samples_picture(prior: TiltDiffusion, count: int = 4, size: int = 128, seed: int = 0) -> Image.Image:
    """Unconditional samples of a tilt prior, and simulated maps: the displacement along the columns."""
    device = next(prior.parameters()).device
    drawn = prior.decode(sample_states(prior, (count, 2, size, size), 50, seed, 1.0, device))
    true = tilt_maps(count, (size, size), torch.Generator().manual_seed(seed))
    return sheet([("samples, 50 DDIM steps, eta 1", tilt_pictures(drawn)), ("simulated maps", tilt_pictures(true))])
