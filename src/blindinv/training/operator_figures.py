"""Pictures of the operators' diffusion priors: samples from nothing, beside what they were trained on."""

import torch
from PIL import Image
from torch import Tensor

from blindinv.kernels.mixture import mixed_kernels
from blindinv.priors.kernel_diffusion import KernelDiffusion
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
