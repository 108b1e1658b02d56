"""Error and image spectra for priors that come without them, measured on photos that are packaged with scikit-image."""

import torch
from torch import Tensor

from blindinv.operators.fourier import Spectrum, fft
from blindinv.priors.latent import LatentPrior, measure_spectrum


def reference_photos(size: int = 256) -> Tensor:
    """(4, 3, size, size) in [0, 1]: centre crops of astronaut, cat, coffee and rocket, which scikit-image ships."""
    from skimage import data
    from torchvision.transforms.functional import center_crop, resize, to_tensor

    photos = (data.astronaut(), data.cat(), data.coffee(), data.rocket())
    return torch.stack([center_crop(resize(to_tensor(p), [size], antialias=True), [size, size]) for p in photos])


@torch.no_grad()
def image_spectrum(photos: Tensor) -> Tensor:
    """(bins,) radial power of photos (N, 3, H, W) in [0, 1] around their mean colour."""
    centred = photos - photos.mean((-2, -1), keepdim=True)
    return Spectrum.rings(fft(centred).abs().square().mean((0, 1)), (photos.shape[-2], photos.shape[-1]))


def with_spectra(prior: LatentPrior, size: int = 256) -> LatentPrior:
    """The prior itself, its missing spectra measured (a dozen network evaluations, once per prior)."""
    if prior.spectrum is None or prior.image_spectrum is None:
        photos = reference_photos(size).to(next(iter(prior.buffers()), torch.zeros(())).device)
        prior.spectrum = prior.spectrum or measure_spectrum(prior, photos)
        prior.image_spectrum = prior.image_spectrum or Spectrum([0], image_spectrum(photos)[None].cpu())
    return prior
