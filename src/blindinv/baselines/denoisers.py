"""Classical denoisers of scikit-image, each told the noise level.

What the noise level does not decide was chosen once, on four photos of a training set, for the best mean PSNR.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np

Denoiser = Callable[[np.ndarray, float], np.ndarray]


def non_local_means(y: np.ndarray, sigma: float) -> np.ndarray:
    """Means over similar patches; patches grow with the noise.

    Reference: Buades, Coll & Morel, "Non-local means denoising", IPOL 2011.

    Args:
        y: (H, W, 3) on [0, 1] plus noise, not clipped.
        sigma: of the noise.
    """
    from skimage.restoration import denoise_nl_means

    near = [(3, 7, 0.6), (5, 7, 0.6), (5, 7, 0.4), (7, 9, 0.4)]  # patch, distance, h over sigma
    patch, distance, h = near[sum(sigma > limit for limit in (0.07, 0.14, 0.28))]
    return denoise_nl_means(y, patch, distance, h * sigma, fast_mode=True, sigma=sigma, channel_axis=-1)


def wavelets(y: np.ndarray, sigma: float) -> np.ndarray:
    """Soft thresholds by BayesShrink in YCbCr, averaged over 4 x 4 shifts of the picture; arguments as in `non_local_means`.

    Reference: Chang, Yu & Vetterli, "Adaptive wavelet thresholding for image denoising and compression", 2000.

    Raises:
        ImportError: PyWavelets is missing.
    """
    try:
        import pywt  # noqa: F401
    except ImportError as error:
        raise ImportError("wavelets need PyWavelets: pip install 'blindinv[docs]'") from error
    from skimage.restoration import cycle_spin, denoise_wavelet

    name = "sym4" if sigma <= 0.07 else "db2" if sigma <= 0.14 else "db1"
    options = {"wavelet": name, "sigma": sigma, "convert2ycbcr": True, "channel_axis": -1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small pictures have fewer levels than it would like
        return cycle_spin(y, denoise_wavelet, 3, num_workers=1, func_kw={**options, "rescale_sigma": True}, channel_axis=-1)


def total_variation(y: np.ndarray, sigma: float) -> np.ndarray:
    """Least total variation near the picture; arguments as in `non_local_means`.

    Reference: Chambolle, "An algorithm for total variation minimization and applications", 2004.
    """
    from skimage.restoration import denoise_tv_chambolle

    weight = sigma * max(0.3, 1 + 0.14 * math.log2(sigma / 0.4))
    return denoise_tv_chambolle(y, weight, eps=2e-5, max_num_iter=200, channel_axis=-1)


CLASSICAL: dict[str, Denoiser] = {"non-local means": non_local_means, "wavelets": wavelets, "total variation": total_variation}
