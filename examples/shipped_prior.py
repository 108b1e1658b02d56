"""Deblur a photo with the shipped prior, from Python: `python examples/shipped_prior.py PHOTO OUT.png [KERNEL_SIZE]`."""

import sys

import numpy as np
import torch
from PIL import Image

from blindinv import deblur, load_kernel_denoiser, load_prior


def main(photo: str, out: str, kernel_size: int) -> None:
    pixels = np.array(Image.open(photo).convert("RGB"))
    y = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    result = deblur(
        y,
        method="latentdem",
        prior=load_prior("photos"),
        denoiser=load_kernel_denoiser(),
        kernel_size=kernel_size,
        record=lambda p: print(f"step {p.step} of {p.total}", end="\r", file=sys.stderr),
    )
    Image.fromarray((result.image[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(out)
    print(f"noise level {float(result.sigma):.4f}, image written to {out}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 31)
