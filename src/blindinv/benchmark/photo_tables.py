"""Tables of whole methods: on synthetic camera shake (LatentDEM's table 1) and on real shake (Levin et al.)."""

from functools import partial

from blindinv.benchmark.ablations import ABLATIONS
from blindinv.benchmark.bench import Ask, Bench, Goal, Results, above, at_least
from blindinv.benchmark.figures import error_ratios, time_and_quality
from blindinv.benchmark.rows import Row, blind, rows
from blindinv.benchmark.table import CPU_SECONDS, GOOD, GOOD_KERNEL, KERNEL_MSE, LEVIN, LPIPS, MNC, PHOTOS64, PSNR, SECONDS, SSIM
from blindinv.methods import methods

REFERENCES = ("blurred", "wiener-true", "sparse-true", "latentdem-true")
ELSEWHERE = ("vanilla-em", "blinddps-uniform")


def some(*names: str) -> "partial[dict[str, Row]]":
    """Rows by name."""
    return partial(_pick, names)


def _pick(names: tuple[str, ...], ask: Ask) -> dict[str, Row]:
    table = rows()
    return {name: table[name] for name in names if name in table}


def all_blind(*references: str) -> "partial[dict[str, Row]]":
    """The references, then every blind method but those that have a table of their own."""
    return partial(_all_blind, references)


def _all_blind(references: tuple[str, ...], ask: Ask) -> dict[str, Row]:
    names = [name for name, method in methods().items() if blind(method) and name not in ELSEWHERE]
    return _pick((*references, *names), ask)


def _paper(psnr: str, ssim: str, lpips: str, mse: str, mnc: str) -> dict[str, str]:
    return {"PSNR, best shift": psnr, "SSIM": ssim, "LPIPS": lpips, "kernel MSE": mse, "MNC": mnc}


_FASTEM = _paper("17.46 / 17.36", ".554 / .422", ".169 / .377", ".035 / .440", ".399 / .266")
_OURS = _paper("22.65 / 19.35", ".653 / .496", ".167 / .256", ".009 / .010", ".459 / .441")
TABLE1 = {
    "restorer": _paper("21.60 / 19.85", ".517 / .433", ".399 / .470", "", ""),
    "selfdeblur": _paper("18.84 / 16.74", ".328 / .232", ".493 / .493", ".017 / .016", ".045 / .036"),
    "blinddps": _paper("22.58 / 17.31", ".583 / .472", ".245 / .309", ".048 / .036", ".270 / .274"),
    "fastem": _FASTEM,
    "fastem-pigdm": _FASTEM,
    "latentdem": _OURS,
    "latentdem-paper": _OURS,
}
LEVIN_PAPERS = {
    "pan-dcp": {"PSNR, best shift": "32.69", "error ratio": "1.26", "s": "295"},
    "selfdeblur": {"PSNR, best shift": "33.07", "error ratio": "1.20", "s": "224"},
    "sparse-true": {"PSNR, best shift": "34.53"},
}


def first(figure: str, digits: int, unit: str, results: Results) -> tuple[str, bool]:
    """How far the default is above the next blind method."""
    others = [m for m in results.blind() if m not in ABLATIONS and m not in ("latentdem", "latentdem-refined")]
    mine, *theirs = results.means(figure, "latentdem", *others)
    best = max(theirs)
    name = others[theirs.index(best)]
    return f"{mine:.{digits}f}{unit} against {best:.{digits}f}{unit} ({name}, the next)", mine > best


def near_its_bound(method: str, bound: str) -> Goal:
    """A method comes near what it does with the true kernel."""
    return Goal(f"{method} beside {bound}", "≥ -3 dB", above("psnr_shift", method, bound, -3))


def known_kernel(ask: Ask) -> dict[str, Row]:
    """The methods that are not blind, and the references."""
    return _pick((*REFERENCES, *(f"{name}-true" for name, method in methods().items() if not blind(method))), ask)


def _good_kernels(results: Results) -> tuple[str, bool]:
    (mnc,) = results.values("mnc", "latentdem")
    good = sum(v >= GOOD_KERNEL for v in mnc)
    return f"{good} of {len(mnc)}", good * 64 >= 60 * len(mnc)


def _best(results: Results) -> tuple[str, bool]:
    mean = {m: results.means("psnr_shift", m)[0] for m in results.blind()}
    name = max(mean, key=lambda m: mean[m])
    return f"{mean[name]:.2f} dB ({name})", mean[name] >= 33.1


def _near(method: str, published: float, results: Results) -> tuple[str, bool]:
    (mean,) = results.means("psnr_shift", method)
    return f"{mean:.2f} dB ({mean - published:+.2f})", mean >= published - 1


BENCHES = {
    "photos-64": Bench(
        "photos-64: synthetic camera shake",
        "LatentDEM, table 1, on this package's own protocol.",
        some(*REFERENCES, "latentdem", "latentdem-refined"),
        PHOTOS64,
        goals=(
            Goal("PSNR, best shift", "≥ 23.5 dB", at_least("psnr_shift", "latentdem", 23.5, unit=" dB")),
            Goal("beside its own true-kernel row", "≥ -1.0 dB", above("psnr_shift", "latentdem", "latentdem-true", -1)),
            Goal("SSIM", "≥ .60", at_least("ssim", "latentdem", 0.6, 3)),
            Goal("MNC, mean", "≥ .93", at_least("mnc", "latentdem", 0.93, 3)),
            Goal("MNC ≥ .80", "60 of 64", _good_kernels),
            Goal("above Wiener with the true kernel", "yes", above("psnr_shift", "latentdem", "wiener-true", 0)),
        ),
    ),
    "ablations": Bench(
        "What each part of the default does",
        "LatentDEM has such figures of annealing only.",
        some("latentdem", *ABLATIONS),
        PHOTOS64,
        limit=8,
    ),
    "published": Bench("LatentDEM as published", "LatentDEM, algorithm 1, table 1.", some("latentdem-paper"), PHOTOS64, limit=4),
    "table1": Bench(
        "All methods",
        "LatentDEM, table 1: FFHQ / ImageNet, 64 photos each, Stable Diffusion 1.5, an A100; noise and kernels are not "
        "stated; MPRNet stands beside `restorer`. Kernel MSE here is of kernels scaled to a maximum of 1, after the best shift.",
        all_blind("blurred", "latentdem-true", "blinddps-true", "fastem-true", "fastem-pigdm-true"),
        (PSNR, SSIM, LPIPS, KERNEL_MSE, MNC, GOOD, SECONDS, CPU_SECONDS),
        TABLE1,
        time_and_quality,
        (
            Goal("latentdem first in PSNR", "yes", partial(first, "psnr_shift", 2, " dB")),
            Goal("latentdem first in MNC", "yes", partial(first, "mnc", 3, "")),
            *(near_its_bound(m, f"{m}-true") for m in ("blinddps", "fastem", "fastem-pigdm")),
            near_its_bound("fastem-started", "fastem-pigdm-true"),
        ),
        limit=16,
    ),
    "true-kernel": Bench(
        "Methods with the true kernel",
        "no table of the two papers: DPS, PiGDM, PSLD and DDNM are not blind, and are what blind methods are built on.",
        known_kernel,
        (PSNR, SSIM, LPIPS, SECONDS, CPU_SECONDS),
        None,
        time_and_quality,
        limit=16,
    ),
    "levin": Bench(
        "Levin: real camera shake",
        "Levin et al. 2009, all 32 pictures, as quoted in the papers of SelfDeblur (Ren et al. 2020), from memory; "
        "the true-kernel row there is another deconvolution.",
        all_blind(*REFERENCES),
        LEVIN,
        LEVIN_PAPERS,
        error_ratios,
        (
            Goal("best blind method", "≥ 33.1 dB", _best),
            Goal("latentdem", "≥ 32.5 dB", at_least("psnr_shift", "latentdem", 32.5, unit=" dB")),
            Goal("selfdeblur as published (33.07)", "≥ -1 dB", partial(_near, "selfdeblur", 33.07)),
            Goal("pan-dcp as published (32.69)", "≥ -1 dB", partial(_near, "pan-dcp", 32.69)),
        ),
        protocol="levin",
    ),
}
