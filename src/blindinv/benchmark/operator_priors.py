"""What the diffusion priors of operators can do by themselves: valid kernels that are no copies, denoised tilt maps.

A decoded kernel is non-negative and sums to 1 whatever the network does; what is asked of a sample is that it looks like a
kernel: in one piece, and inside its frame. That it is no copy is asked of the bank it was trained on: its likeness to the
nearest kernel there, whatever the shift and the symmetry, beside that of kernels that were not trained on.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from blindinv.benchmark.records import versions
from blindinv.benchmark.table import markdown_lines
from blindinv.hashing import tensor_hash
from blindinv.kernels.measure import mnc
from blindinv.kernels.mixture import kernel_bank, symmetries
from blindinv.kernels.tilt import tilt_maps
from blindinv.priors.kernel_diffusion import KernelDiffusion
from blindinv.priors.tilt import TiltDiffusion
from blindinv.training.figures import sheet
from blindinv.training.kernel_prior import BANK_SEED, kernel_states
from blindinv.training.loop import write_atomically
from blindinv.training.operator_figures import kernel_pictures, tilt_pictures
from blindinv.training.sampling import sample_states
from blindinv.training.tilt_prior import validation_states

BACKGROUND, MAIN_PART = 0.02, 0.9
RING, RING_MASS = 2, 0.02
HELD_OUT_SEED = 2
COARSE, SHORTLIST, COPY = 32, 64, 0.99
TIMES = (50, 100, 200, 300, 420, 550, 700, 850)

Tick = Callable[[str], object]


@dataclass(frozen=True)
class Validity:
    """Shares of a set of kernels, 0 to 1.

    Attributes:
        connected: the largest 8-connected part above 2 % of the maximum holds at least 90 % of the mass.
        inside: the outermost two pixels hold at most 2 % of the mass.
        valid: both, and non-negative with sum 1.
    """

    connected: float
    inside: float
    valid: float


def validity(k: Tensor) -> Validity:
    """What share of the kernels (B, 1, n, n) is valid."""
    connected = torch.tensor([main_part(one) >= MAIN_PART for one in k])
    inner = k[..., RING:-RING, RING:-RING].sum((1, 2, 3))
    inside = (k.sum((1, 2, 3)) - inner) <= RING_MASS
    simplex = (k.amin((1, 2, 3)) >= 0) & ((k.sum((1, 2, 3)) - 1).abs() < 1e-4)
    return Validity(*(float(share.float().mean()) for share in (connected, inside, connected & inside & simplex)))


def main_part(k: Tensor) -> float:
    """Share of the mass of a kernel (1, n, n) in its largest 8-connected part above 2 % of the maximum."""
    from skimage.measure import label

    plane = k[0].cpu()
    parts = torch.from_numpy(label((plane > BACKGROUND * plane.max()).numpy(), connectivity=2).astype("int64"))
    mass = torch.zeros(int(parts.max()) + 1, dtype=plane.dtype).scatter_add_(0, parts.flatten(), plane.flatten())
    return float(mass[1:].max() / plane.sum()) if len(mass) > 1 else 0.0


@torch.no_grad()
def nearest(k: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The most alike kernel of a bank for each kernel: likeness (B,) and index (B,).

    Likeness is the maximum of the normalised cross-correlation over shifts and the eight symmetries. It is computed for the
    64 kernels of the bank that are most alike at 32 x 32 pixels and shifts of at most one of those: all kernels are centred.

    Args:
        k: (B, 1, n, n).
        bank: (N, 1, n, n) uint8, as of `kernel_bank`.
    """
    turned = torch.stack([symmetries(k, torch.full((len(k),), i)) for i in range(8)])
    coarse = _coarse(turned.flatten(0, 1))
    moved = torch.stack([coarse.roll((dy, dx), (-2, -1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    scores = torch.cat([_alike(moved, part).view(8, len(k), -1) for part in bank.split(1000)], 2)
    scores, which = scores.max(0)
    candidates = scores.topk(min(SHORTLIST, len(bank)), 1).indices
    likeness = torch.stack([mnc(turned[which[i, c], i], bank[c].float()) for i, c in enumerate(candidates)])
    value, where = likeness.max(1)
    return value, candidates.gather(1, where[:, None])[:, 0]


def _coarse(k: Tensor) -> Tensor:
    """Kernels (B, 1, n, n) averaged down to (B, 32, 32) or less, of unit norm."""
    small = F.adaptive_avg_pool2d(k, min(COARSE, k.shape[-1]))[:, 0]
    return small / small.flatten(1).norm(dim=1).view(-1, 1, 1)


def _alike(moved: Tensor, part: Tensor) -> Tensor:
    """Largest inner product over the shifts: (shifts, Q, m, m) and (P, 1, n, n) uint8 -> (Q, P)."""
    other = _coarse(part.float()).flatten(1).T
    best = moved[0].flatten(1) @ other
    for one in moved[1:]:
        best = torch.maximum(best, one.flatten(1) @ other)
    return best


def is_gaussian(bank: Tensor) -> Tensor:
    """(N,) which kernels of a bank are isotropic, so that they are their own mirror images."""
    k = bank.float()
    mirrored = [symmetries(k, torch.full((len(k),), which)) for which in (1, 2)]
    return torch.stack([(k - m).abs().amax((1, 2, 3)) <= 2 for m in mirrored]).all(0)


@dataclass(frozen=True)
class Likeness:
    """To the nearest kernel of the training bank, of those kernels whose nearest one is of motion.

    Attributes:
        count: of kernels.
        median, high: of the likeness; high is the 95th percentile.
        copies: share above 0.99.
    """

    count: int
    median: float
    high: float
    copies: float


def likeness(k: Tensor, bank: Tensor) -> Likeness:
    """Summary of `nearest`."""
    value, index = nearest(k, bank)
    value = value[~is_gaussian(bank[index])]
    if not len(value):
        return Likeness(0, float("nan"), float("nan"), float("nan"))
    middle, high = value.quantile(torch.tensor([0.5, 0.95])).tolist()
    return Likeness(len(value), middle, high, float((value > COPY).float().mean()))


@dataclass(frozen=True, eq=False)
class KernelReport:
    """A kernel prior by itself.

    Attributes:
        samples: decoded (B, 1, n, n).
        valid: of the samples.
        valid_true: of as many kernels that were not trained on.
        likeness: of the samples to the training bank.
        likeness_true: of those kernels to it.
    """

    samples: Tensor
    valid: Validity
    valid_true: Validity
    likeness: Likeness
    likeness_true: Likeness


def kernel_report(
    prior: KernelDiffusion,
    samples: int = 256,
    bank: int = 60_000,
    steps: int = 100,
    tick: Tick = lambda text: None,
) -> KernelReport:
    """Draw kernels from nothing by DDIM (eta 1), all seeds fixed, judge them, and look for them in the training bank.

    Args:
        prior: trained on `kernel_bank(bank, prior.size)`.
        samples: how many.
        bank: how many kernels it was trained on.
        steps: of DDIM.
        tick: called with what is being done.
    """
    device, parts = next(prior.parameters()).device, []
    for first in range(0, samples, 32):
        tick(f"kernels: sample {first + 1} of {samples}")
        shape = prior.shape((min(32, samples - first),))
        parts.append(prior.decode(sample_states(prior, shape, steps, first, eta=1.0, device=device)).cpu())
    drawn, true = torch.cat(parts), prior.decode(kernel_states(kernel_bank(samples, prior.size, HELD_OUT_SEED)))
    tick("kernels: likeness to the training bank")
    trained = kernel_bank(bank, prior.size, BANK_SEED)
    return KernelReport(drawn, validity(drawn), validity(true), likeness(drawn, trained), likeness(true, trained))


@torch.no_grad()
def tilt_report(prior: TiltDiffusion, count: int = 32) -> dict[int, tuple[float, float, float]]:
    """Root mean square errors in pixels of denoised maps by timestep: of the noisy map, the Wiener filter, the network."""
    device, generator = next(prior.parameters()).device, torch.Generator().manual_seed(0)
    z, made = validation_states(count).to(device), {}
    for t in TIMES:
        a = prior.schedule.at(t)
        z_t = a**0.5 * z + (1 - a) ** 0.5 * torch.randn(z.shape, generator=generator).to(device)
        wiener = prior.denoiser.gaussian(z_t, torch.full((len(z),), a, device=device))[0]  # type: ignore[operator, union-attr]
        errors = (prior.scale * (x - z).square().mean().sqrt() for x in (z_t / a**0.5, wiener, prior.denoise(z_t, t)))
        first, second, third = map(float, errors)
        made[t] = (first, second, third)
    return made


def figure(report: KernelReport, tilt: TiltDiffusion) -> Image.Image:
    """Samples of both priors, for the docs; the first of each, none left out."""
    n, device = report.samples.shape[-1], next(tilt.parameters()).device
    columns, size = max(1, 816 // (n + 4)), 160
    bank = kernel_bank(columns, n, HELD_OUT_SEED).float()
    rows = [("kernels drawn from the prior, 100 DDIM steps, eta 1", kernel_pictures(report.samples[:columns]))]
    rows += [("", kernel_pictures(report.samples[columns * i : columns * (i + 1)])) for i in (1, 2)]
    rows += [("simulated kernels", kernel_pictures(bank))]
    maps = tilt.decode(sample_states(tilt, (5, 2, size, size), 50, 0, 1.0, device)).cpu()
    rows += [("tilt maps drawn from the prior, 50 DDIM steps, eta 1", tilt_pictures(maps))]
    rows += [("simulated tilt maps", tilt_pictures(tilt_maps(5, (size, size), torch.Generator().manual_seed(0))))]
    return sheet([row for row in rows if len(row[1])])


def operator_priors_report(
    kernels: KernelDiffusion,
    tilt: TiltDiffusion,
    out: Path,
    samples: int = 256,
    bank: int = 60_000,
    tick: Tick = lambda text: None,
) -> str:
    """Write operator-priors.md, .json and .png in a folder, and return the page. All seeds are fixed.

    Args:
        kernels: prior of kernels.
        tilt: prior of tilt maps.
        out: folder, made if need be.
        samples: of the kernel prior.
        bank: how many kernels it was trained on.
        tick: called with what is being done.
    """
    report = kernel_report(kernels, samples, bank, tick=tick)
    tick("tilt maps")
    errors, picture = tilt_report(tilt), figure(report, tilt)
    page, figures = _page(report, errors), {k: asdict(v) for k, v in vars(report).items() if k != "samples"}
    facts = {
        "sha256_of_tensors": {"kernel_prior": tensor_hash(kernels), "tilt_prior": tensor_hash(tilt)},
        "versions": versions(),
        "kernels": figures | {"samples": samples, "bank": bank},
        "tilt_rmse": {str(t): e for t, e in errors.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "operator-priors.png", lambda p: picture.convert("L").save(p, "PNG", optimize=True))
    write_atomically(out / "operator-priors.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8"))
    write_atomically(out / "operator-priors.md", lambda p: p.write_text(page, encoding="utf-8"))
    return page


def _page(report: KernelReport, errors: dict[int, tuple[float, float, float]]) -> str:
    shares = [["kernels", "in one piece", "inside the frame", "valid"]]
    shares += [
        [name, *(f"{100 * v:.1f} %" for v in (of.connected, of.inside, of.valid))]
        for name, of in (("samples", report.valid), ("simulated", report.valid_true))
    ]
    alike = [["kernels", "of motion", "median", "95th percentile", f"above {COPY}"]]
    alike += [
        [name, str(of.count), f"{of.median:.3f}", f"{of.high:.3f}", f"{100 * of.copies:.1f} %"]
        for name, of in (("samples", report.likeness), ("not trained on", report.likeness_true))
    ]
    names = ("noisy", "Wiener filter", "network")
    tilt = [["t", *map(str, errors)], *([n, *(f"{e[i]:.3f}" for e in errors.values())] for i, n in enumerate(names))]
    return "\n\n".join(
        (
            "# Diffusion priors of operators",
            f"## Kernels: {len(report.samples)} samples\n\n{markdown_lines(shares)}",
            f"## Likeness to the nearest kernel of the training bank\n\n{markdown_lines(alike)}",
            f"## Tilt maps: root mean square error in pixels after denoising at t\n\n{markdown_lines(tilt)}",
            "![samples](operator-priors.png)\n",
        )
    )
