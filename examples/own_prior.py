"""Deblur with a diffusers checkpoint of your own: `python examples/own_prior.py CHECKPOINT PHOTO OUT.png`.

CHECKPOINT is a folder in diffusers' layout, a Stable Diffusion 1.x .safetensors file, or a hub id. This is the paper's
algorithm; see docs/priors.md for the choice of method.
"""

import sys

import numpy as np
import torch
from PIL import Image

from blindinv import deblur, load_kernel_denoiser, load_prior

SIZE = 512


def main(checkpoint: str, photo: str, out: str, steps: int = 1000) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image = Image.open(photo).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    y = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().to(device) / 255
    result = deblur(
        y,
        method="latentdem-paper",
        prior=load_prior(checkpoint, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32),
        denoiser=load_kernel_denoiser().to(device),
        kernel_size=64,
        circular=False,
        steps=steps,
        record=lambda p: print(f"step {p.step} of {p.total}", end="\r", file=sys.stderr),
    )
    Image.fromarray((result.image[0].cpu() * 255).round().byte().permute(1, 2, 0).numpy()).save(out)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:4], *map(int, sys.argv[4:5]))
