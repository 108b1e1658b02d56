"""Protocol turbulence: photos through the simulator of BlindDPS (Chung et al., CVPR 2023), periodic borders, known noise.

Photo i of a folder, at 256 x 256, is tilted by map i of the simulator and blurred with a Gaussian (standard deviation 2
pixels, the paper's for ImageNet; it takes 4 for faces), and gets noise of 0.02 on [0, 1]. PSNR and SSIM are taken after the
best whole-pixel shift; the tilt is judged by its mean end-point error after its mean is taken away, in pixels.

Truth and results have five channels here: the picture, then the tilt. Results of three are pictures without a tilt, so
that every method of deblurring can be a row.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from blindinv.benchmark.bench import Ask, Bench, Goal, Results, above
from blindinv.benchmark.cases import Batch, Case, Figures, Task, per_sample
from blindinv.benchmark.photos64 import SIZE, photos64_task
from blindinv.benchmark.rows import Context, Row, blurred, describe, rows
from blindinv.benchmark.table import CPU_SECONDS, MNC, PSNR, SSIM, Column, mean
from blindinv.kernels.gaussian import gaussian_kernel
from blindinv.kernels.measure import kernel_mse, mnc
from blindinv.kernels.tilt import end_point_error, tilt_maps
from blindinv.methods.turbulence import TURBULENCE, ByEvidence, TurbulenceMethod
from blindinv.metrics import best_shift, psnr, ssim
from blindinv.mstep.tilt import TiltStep
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.fourier import Spectrum
from blindinv.operators.turbulence import Turbulence
from blindinv.protocols import generators, randn
from blindinv.zoo.shipped import weights_hash

STD, KERNEL = 2.0, 64


def turbulence_task(folder: Path, *, limit: int | None = None, seed: int = 0, sigma: float = 0.02, std: float = STD) -> Task:
    """The protocol on the photos of a folder, sorted by name; at most 64.

    Args:
        folder: of pictures; those that are not 256 x 256 are cut to the middle square and resized.
        limit: only the first so many. Tilt and noise of a photo do not depend on it.
        seed: of tilts and noise.
        sigma: noise level on [0, 1].
        std: of the Gaussian blur, in pixels.

    Raises:
        ValueError: as `photos64_task`, or a std that is not positive or too large for the kernel.
    """
    if not 0 < std <= KERNEL / 6:
        raise ValueError(f"the blur must be above 0 and at most {KERNEL / 6:.1f} pixels, not {std:g}")
    photos = photos64_task(folder, limit=limit, seed=seed, sigma=sigma).cases
    kernel, tilts, noise = gaussian_kernel(KERNEL, std), generators(seed + 2, len(photos)), generators(seed + 3, len(photos))
    cases = [_case(case, kernel, *rngs) for case, *rngs in zip(photos, tilts, noise, strict=True)]
    config = {"kernel_size": KERNEL, "std": std, "strength": 1.0, "sigma": sigma, "size": SIZE, "data_seed": seed}
    return Task("turbulence", cases, KERNEL, True, score, config | {"boundary": "circular"})


def _case(photo: Case, kernel: Tensor, tilt_rng: torch.Generator, noise_rng: torch.Generator) -> Case:
    x = photo.truth
    tilt = tilt_maps(1, (x.shape[-2], x.shape[-1]), tilt_rng)
    y = Turbulence(CircularConvolution())(x, {"kernel": kernel, "tilt": tilt})
    y = y + photo.sigma * randn(tuple(y.shape), [noise_rng])
    return replace(photo, y=y, truth=torch.cat([x, tilt], 1), kernel=kernel)


def score(batch: Batch, images: Tensor, kernels: Tensor) -> list[Figures]:
    """PSNR as it is; PSNR and SSIM after the best shift; end-point error; MNC and squared error of the kernel."""
    truth, tilt = batch.truth[:, :3], batch.truth[:, 3:]
    found = images[:, 3:] if images.shape[1] > 3 else torch.zeros_like(tilt)
    aligned, _ = best_shift(images[:, :3], truth)
    return per_sample(
        psnr=psnr(images[:, :3], truth),
        psnr_shift=psnr(aligned, truth),
        ssim=ssim(aligned, truth),
        epe=end_point_error(found, tilt),
        mnc=mnc(kernels, batch.kernel),
        kernel_mse=kernel_mse(kernels, batch.kernel),
    )


def _restored(
    batch: Batch, context: Context, method: TurbulenceMethod, true_kernel: bool, strength: float
) -> tuple[Tensor, Tensor]:
    from blindinv.turbulence import restore

    models = context.models(Row(blurred, _needs(method), method.own_prior))
    result = restore(
        batch.y,
        method=method,
        prior=models.prior,
        kernel_prior=models.kernel_prior,
        kernel_size=batch.kernel_size,
        sigma=batch.sigma,
        circular=batch.circular,
        kernel=batch.kernel if true_kernel else None,
        strength=strength,
        steps=context.steps,
        seed=context.seed,
        record=context.record,
    )
    return torch.cat([result.image, result.tilt], 1), result.kernel


def _known_scene(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """The tilt that the M-step finds from the true photo and kernel: what there is to be found (its picture is y)."""
    x, A = batch.truth[:, :3].to(batch.y), Turbulence(CircularConvolution())
    tilt, exact = torch.zeros_like(batch.truth[:, 3:]), Spectrum([0], torch.full((1, 64), 1e-12))
    for _ in range(3):
        tilt = TiltStep(A, batch.kernel, exact, iterations=20)(batch.y, x, tilt, 0, batch.sigma)
    return torch.cat([batch.y, tilt], 1), batch.kernel


def _needs(method: TurbulenceMethod) -> tuple[str, ...]:
    """The networks that rows know; the tilt prior is a matter of the method's own."""
    return tuple(name for name in method.needs if name != "tilt_prior")


def _row(method: TurbulenceMethod, true_kernel: bool = False, strength: float = 1.0) -> Row:
    settings = describe(method) | {"true_kernel": repr(true_kernel), "strength": repr(strength)}
    if "tilt_prior" in method.needs:
        settings["tilt_prior"] = weights_hash().get("tilt", "")
    call = partial(_restored, method=method, true_kernel=true_kernel, strength=strength)
    return Row(call, _needs(method), method.own_prior, settings)


def _rows(ask: Ask) -> dict[str, Row]:
    usual = rows()
    return {
        "blurred": usual["blurred"],
        "wiener-true": usual["wiener-true"],
        "known-scene": Row(_known_scene),
        "turbulence-true": _row(ByEvidence(), true_kernel=True),
        "turbulence": _row(TURBULENCE["default"]),
        "turbulence-no-tilt": _row(ByEvidence(), strength=0.0),
        "turbulence-blinddps": _row(TURBULENCE["blinddps"]),
    }


def _better_than_no_tilt(results: Results) -> tuple[str, bool]:
    zero, found = results.values("epe", "blurred", "turbulence")
    count = sum(f < z for z, f in zip(zero, found, strict=True))
    text = f"{sum(found) / len(found):.4f} against {sum(zero) / len(zero):.4f} pixels, lower on {count} of {len(zero)}"
    return text, sum(found) < sum(zero)


EPE = Column("EPE, pixels", mean("epe", 4))
PAPER = {"turbulence-blinddps": {"PSNR, best shift": "24.49 (faces) / 19.59 (ImageNet)"}}

BENCHES: dict[str, Bench] = {
    "turbulence": Bench(
        "Imaging through turbulence",
        "BlindDPS, imaging through turbulence (paper: 1000 faces of FFHQ and ImageNet, 256x256, its own priors)",
        _rows,
        (PSNR, SSIM, EPE, MNC, CPU_SECONDS),
        PAPER,
        goals=(
            Goal("PSNR above the tilted and blurred photo", "2 dB", above("psnr_shift", "turbulence", "blurred", 2.0)),
            Goal("end-point error of the tilt", "below that of no tilt", _better_than_no_tilt),
        ),
        limit=16,
    )
}
