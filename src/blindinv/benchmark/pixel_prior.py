"""What a pixel-space prior of images can do by itself: a diffusion model of pixels is a denoiser of photos."""

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from blindinv.baselines.denoisers import CLASSICAL
from blindinv.benchmark.prior import LEVELS, Photo, Scores, Section, Tick
from blindinv.metrics import psnr
from blindinv.priors.pixel import PixelPrior
from blindinv.priors.wiener import WienerDenoiser

DENOISING = (
    "Mean PSNR of photos with Gaussian noise of a known level on [0, 1]. The network is asked once, at the timestep whose noise "
    "over signal is nearest; the Wiener filter is the linear estimate that it works on top of. The classical denoisers are "
    "scikit-image's; they are told the noise level, and their other settings were chosen for PSNR on photos of a training set."
)


def timestep(prior: PixelPrior, sigma: float) -> int:
    """The t whose noise over signal, sqrt((1 - abar) / abar), is nearest to that of noise `sigma` on [0, 1]: 2 sigma."""
    abar = prior.schedule.abar
    return int((((1 - abar) / abar).sqrt() - 2 * sigma).abs().argmin())


@torch.no_grad()
def denoise_pixels(prior: PixelPrior, y: Tensor, sigma: float) -> dict[str, Tensor]:
    """Estimates of a photo (1, 3, H, W) in [0, 1] from the noisy `y`: of the network, and of its Wiener filter if it has one."""
    t = timestep(prior, sigma)
    abar = prior.schedule.at(t)
    z_t = abar**0.5 * prior.encode(y)
    made = {"network": prior.decode(prior.denoise(z_t, t))}
    if isinstance(prior.denoiser, WienerDenoiser):
        w, _ = prior.denoiser.gaussian(z_t, torch.full((1,), abar, device=y.device))
        made = {"Wiener": prior.decode(w)} | made
    return made


def pixel_denoising(prior: PixelPrior, photos: Sequence[Photo], tick: Tick = lambda text: None) -> Section:
    """Photos with noise, denoised by the prior and by classical denoisers: a table of mean PSNR in dB."""
    scores: Scores = {}
    for sigma in LEVELS:
        for p in photos:
            tick(f"denoising, sigma {sigma:g}: {p.name}")
            y = p.x + sigma * p.noise(p.x)
            made = {"noisy": y} | denoise_pixels(prior, y, sigma)
            plane = y[0].permute(1, 2, 0).cpu().numpy()
            made |= {n: torch.from_numpy(f(plane, sigma)).permute(2, 0, 1)[None].to(y) for n, f in CLASSICAL.items()}
            for name, image in made.items():
                scores.setdefault(name, {}).setdefault(f"{sigma:g}", []).append(float(psnr(image, p.x)))
    rows = [[name, *(f"{fmean(v):.2f}" for v in of.values())] for name, of in scores.items()]
    title = f"Denoising of photos, {len(photos)} photos"
    return Section("pixel_denoising", title, DENOISING, [["sigma", *(f"{s:g}" for s in LEVELS)], *rows], scores)
