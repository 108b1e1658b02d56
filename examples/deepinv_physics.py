"""Super-resolution with an unknown blur through deepinv's own physics: `python examples/deepinv_physics.py [STEPS]`.

y = every second pixel of k * x, plus noise. The forward model is `deepinv.physics.Downsampling`, which is not ours; its
parameter "filter" is the unknown. EM inside one reverse diffusion: DPS steps on the image, gradient steps on the filter.
"""

import sys

import torch
import torch.nn.functional as F
from deepinv.physics import Downsampling, GaussianNoise
from skimage import data

from blindinv.guidance.losses import Measurement
from blindinv.guidance.moves import Descend
from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import mnc
from blindinv.metrics import best_shift, psnr
from blindinv.mstep.gradient import Gradient
from blindinv.operators.deepinv_ import DeepinvOperator
from blindinv.solve import Diffused, solve
from blindinv.step import DDIM
from blindinv.unknown import Estimated
from blindinv.zoo.load import load_prior

SIZE, SIGMA, KERNEL = 128, 0.01, 15


def main(steps: int = 60) -> tuple[float, float, float, float]:
    """PSNR of bicubic interpolation and of the result, MNC of the first guess at the filter and of the one found."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    x = F.interpolate(photo, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    true, guess = gaussian_kernel(KERNEL, 2.0), gaussian_kernel(KERNEL, 1.5)
    noise = GaussianNoise(SIGMA, rng=torch.Generator().manual_seed(0))
    y = Downsampling((3, SIZE, SIZE), filter=true, factor=2, padding="circular", noise_model=noise)(x)

    A = DeepinvOperator(Downsampling((3, SIZE, SIZE), filter=guess, factor=2, padding="circular"), "filter")
    bicubic = F.interpolate(y, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    prior, loss = load_prior("pixels"), Measurement(A)
    chain = Diffused(prior, prior.schedule.timesteps(steps, 600), DDIM(), start=bicubic)
    unknown = Estimated(guess, Gradient(A, iterations=3), lambda t: t < 300)
    move, sigma = Descend(loss, lambda t: 10.0, noise=loss.noise), torch.full((1, 1, 1, 1), SIGMA)
    for p in solve(y, chain, unknown, move, sigma, canvas=(SIZE, SIZE)):
        print(f"step {p.step} of {p.total}", end="\r", file=sys.stderr)

    before, after = (float(psnr(best_shift(image, x)[0], x)) for image in (bicubic, p.x.clamp(0, 1)))
    figures = before, after, float(mnc(guess, true)), float(mnc(p.phi, true))
    print("PSNR: bicubic {:.2f} dB, found {:.2f} dB; MNC of the filter: guess {:.3f}, found {:.3f}".format(*figures))
    return figures


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
