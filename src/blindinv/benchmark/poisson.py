"""Protocol poisson: the photos and kernels of photos-64 at three light levels, with Poisson noise instead of Gaussian.

y = Poisson(g k * x) / g with g = 20, 100 and 500 photons at white. Each method runs twice: told one Gaussian noise level per
photo, the root mean square of its noise, and told the photons, from which every pixel has a level of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from blindinv.benchmark.bench import Ask, Bench, Goal, Results, above
from blindinv.benchmark.cases import Batch, Case, Task
from blindinv.benchmark.photos64 import photos64_task, score
from blindinv.benchmark.records import Record
from blindinv.benchmark.rows import Context, Row, blurred, describe
from blindinv.benchmark.table import CPU_SECONDS, Column, mean
from blindinv.methods import methods
from blindinv.operators.noise import poisson, poisson_sigma
from blindinv.protocols import generators

if TYPE_CHECKING:
    from blindinv.methods.method import Method

LEVELS = (20, 100, 500)
BLIND = ("latentdem",)
TRUE = ("latentdem", "dps", "pigdm", "psld")


def poisson_task(folder: Path, *, limit: int | None = None, seed: int = 0) -> Task:
    """Every photo at every level, as a case each; the seed of photos-64 gives the same kernels."""
    base = photos64_task(folder, limit=limit, seed=seed, sigma=0.0)
    cases = [_case(case, g, seed + 10 * i) for i, g in enumerate(LEVELS, 2) for case in base.cases]
    config = {k: v for k, v in base.config.items() if k != "sigma"} | {"photons": list(LEVELS)}
    return Task("poisson", cases, base.kernel_size, True, score, config)


def _case(case: Case, photons: float, seed: int) -> Case:
    """Noise of the photo's own; sigma is such that mean(y) / sigma^2 is the number of photons, see `photons`."""
    rng = generators(seed, int(case.name.encode().hex(), 16) % 997 + 1)[-1]
    y = poisson(case.y, photons, rng)
    return replace(case, name=f"{case.name} at {photons:g}", y=y, sigma=float((y.mean() / photons).sqrt()))


def photons(batch: Batch) -> list[float]:
    """Photons at white of each sample, from its mean and its mean noise."""
    return [round(float(y.mean() / s.square()), 3) for y, s in zip(batch.y, batch.sigma, strict=True)]


def _deblur(batch: Batch, context: Context, method: "Method", known: bool, counts: bool) -> tuple[Tensor, Tensor]:
    from blindinv.deblur import deblur

    models, sigma = context.models(Row(blurred, method.needs, method.own_prior)), batch.sigma
    if counts:
        sigma = torch.cat([poisson_sigma(batch.y[i : i + 1], g) for i, g in enumerate(photons(batch))])
    result = deblur(
        batch.y,
        method=method,
        prior=models.prior,
        denoiser=models.denoiser,
        refiner=models.refiner,
        kernel_prior=models.kernel_prior,
        restorer=models.restorer,
        kernel_size=batch.kernel_size,
        sigma=sigma,
        circular=batch.circular,
        kernel=batch.kernel if known else None,
        steps=None if method is methods()["latentdem"] else context.steps,
        seed=context.seed,
        record=context.record,
    )
    return result.image, result.kernel


def both_likelihoods(ask: Ask) -> dict[str, Row]:
    """Each method with the Gaussian and with the Poisson likelihood."""
    table = {"blurred": Row(blurred)}
    for name, known in [*((n, False) for n in BLIND), *((n, True) for n in TRUE)]:
        method = methods()[name]
        for likelihood in ("gaussian", "poisson"):
            call = partial(_deblur, method=method, known=known, counts=likelihood == "poisson")
            row = Row(call, method.needs, method.own_prior, describe(method))
            table[f"{name}{'-true' if known else ''}-{likelihood}"] = row
    return table


def at(level: int, records: Sequence[Record]) -> list[Record]:
    """The records of one light level."""
    return [r for r in records if r.image.endswith(f" at {level}")]


def _column(title: str, figure: str, digits: int, level: int) -> Column:
    value = mean(figure, digits)
    return Column(f"{title}, {level} photons", lambda records: value(at(level, records)))


def _goal(name: str, level: int) -> Goal:
    def reached(results: Results) -> tuple[str, bool]:
        few = Results(at(level, [r for images in results.of.values() for r in images.values()]))
        compare: Callable[[Results], tuple[str, bool]] = above("psnr_shift", f"{name}-poisson", f"{name}-gaussian", 0.0)
        return compare(few)

    return Goal(f"{name}, {level} photons: Poisson likelihood above Gaussian", "higher", reached)


BENCHES = {
    "poisson": Bench(
        "Poisson noise",
        "BlindDPS, Gaussian and Poisson likelihood (its weighted norm); no numbers published. Steps count for all but latentdem.",
        both_likelihoods,
        (
            *(_column("PSNR", "psnr_shift", 2, level) for level in LEVELS),
            *(_column("SSIM", "ssim", 3, level) for level in LEVELS),
            *(_column("MNC", "mnc", 3, level) for level in LEVELS),
            CPU_SECONDS,
        ),
        goals=tuple(_goal(name, level) for name in (*BLIND, *(f"{n}-true" for n in TRUE)) for level in LEVELS),
        protocol="poisson",
        limit=4,
        steps=50,
    )
}
