"""BlindDPS's own comparisons: the diffusion prior of kernels against none, and the sparsity of kernels."""

from blindinv.benchmark.bench import Ask, Bench, Goal, above
from blindinv.benchmark.figures import kernels_side_by_side, over_weights
from blindinv.benchmark.photo_tables import some
from blindinv.benchmark.rows import Row, method_row
from blindinv.benchmark.table import GOOD, KERNEL_MSE, LPIPS, MNC, PSNR, SECONDS, SSIM
from blindinv.guidance.sparsity import l0, l1
from blindinv.methods.blinddps import BlindDPS

NORMS = {"l1": l1, "l0": l0}
WEIGHTS = (0.01, 0.1, 1.0)
SPARSE = {"MNC": ".956 to .959", "kernel MSE": ".002"}


def penalties(ask: Ask) -> dict[str, Row]:
    """BlindDPS without and with each norm of the kernel, at each weight."""
    weights = [w for w in ask.weights or WEIGHTS if w]
    penalised = {f"{n}-{w:g}": BlindDPS(sparsity=w, norm=norm) for n, norm in NORMS.items() for w in weights}
    return {name: method_row(method) for name, method in ({"none": BlindDPS()} | penalised).items()}


BENCHES = {
    "kernel-prior": Bench(
        "The diffusion prior of kernels",
        "BlindDPS, ablation of the supplement: 100 photos of FFHQ, 1000 steps.",
        some("blinddps", "blinddps-uniform", "blinddps-true"),
        (PSNR, SSIM, LPIPS, KERNEL_MSE, MNC, GOOD, SECONDS),
        {
            "blinddps": {"PSNR, best shift": "23.65", "LPIPS": ".247", "MNC": ".958"},
            "blinddps-uniform": {"PSNR, best shift": "11.72", "LPIPS": ".566", "MNC": ".844"},
        },
        kernels_side_by_side,
        (
            Goal("PSNR above the uniform prior", "≥ 3 dB (paper: +11.9)", above("psnr_shift", "blinddps", "blinddps-uniform", 3)),
            Goal("beside its own true-kernel row", "≥ -3 dB", above("psnr_shift", "blinddps", "blinddps-true", -3)),
        ),
        limit=8,
        steps=100,
        kernels=True,
    ),
    "sparsity": Bench(
        "Sparsity of kernels",
        "BlindDPS, table 4: motion kernels on FFHQ, the l1 norm, 1000 steps. (In the released code the penalty has no effect: "
        "it is taken after the kernel is normalised. Here it is taken before.)",
        penalties,
        (PSNR, KERNEL_MSE, MNC, SECONDS),
        {"none": {"MNC": ".929", "kernel MSE": ".004"}} | {f"l1-{w:g}": SPARSE for w in (0.1, 0.3, 1.0, 3.0, 5.0)},
        over_weights,
        limit=4,
        steps=100,
    ),
}
