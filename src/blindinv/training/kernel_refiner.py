"""Recipe of the kernel refiner: photos are blurred and EM looks for the kernel; what it finds, and the truth, are the examples.

An example takes seconds to make, so they are made once, into shards: safetensors files with start, kernel of EM and least
squares (`features`) and the true kernel. A shard has its name only when it is complete, so a run that was stopped goes on.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from blindinv.kernels.measure import mnc, normalize, offset, resize_support, roll_each
from blindinv.kernels.motion import motion_kernels
from blindinv.methods.latentdem import Settings, best_start, expectation_maximisation
from blindinv.operators.convolution import CircularConvolution
from blindinv.priors.kernel import KernelRefiner, features, mean_kernel
from blindinv.priors.latent import LatentPrior
from blindinv.problem import Deblurring
from blindinv.training.autoencoder import load_split
from blindinv.training.data import crop_batch
from blindinv.training.view_data import same_settings, save_shard

SHARD = 16
"""Examples per file."""
SIZE, KERNEL = 256, 64
INTENSITY = (0.15, 0.9)
SIGMA, SIGMAS = 0.02, (0.008, 0.032)
"""Noise of every other example, and the range (log-uniform) of the rest."""
CHOICE = 3
"""Starts of an example, drawn from the default's: more take longer, and the mistakes of a worse choice teach as well."""
_split_once = lru_cache(maxsize=1)(load_split)


def blurred(photos: list[Tensor], seed: int) -> tuple[Deblurring, Tensor]:
    """A blurred crop, 256x256, and its kernel, (1, 1, 64, 64); periodic borders."""
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.rand(2, generator=generator).tolist()
    k = motion_kernels(1, KERNEL, INTENSITY[0] + (INTENSITY[1] - INTENSITY[0]) * u, generator)
    sigma = SIGMA if seed % 2 else SIGMAS[0] * (SIGMAS[1] / SIGMAS[0]) ** v
    y = CircularConvolution()(crop_batch(photos, 1, SIZE, generator) / 2 + 0.5, k)
    y = y + sigma * torch.randn(y.shape, generator=generator)
    return Deblurring.of(y, max(sigma, Settings().floor), KERNEL, True, seed=seed), k


def like(k: Tensor, seen: Tensor) -> Tensor:
    """A kernel rolled by the whole pixels that bring it nearest to another, both (B, 1, n, n)."""
    n = k.shape[-1]  # twice as wide: what leaves on one side must not come in on the other
    return resize_support(roll_each(resize_support(k, 2 * n), offset(k, seen).long()), n)


@torch.no_grad()
def example(photos: list[Tensor], seed: int) -> dict[str, Tensor]:
    """`features` (1, 6, 64, 64) of what the default method finds on a blurred photo with the shipped prior, and the `truth`."""
    from blindinv.zoo import load_kernel_denoiser
    from blindinv.zoo.shipped import load_shipped

    problem, k = blurred(photos, seed)
    prior, denoiser, settings = load_shipped("photos"), load_kernel_denoiser(), Settings()
    assert isinstance(prior, LatentPrior)
    choice = torch.randperm(len(settings.starts), generator=torch.Generator().manual_seed(seed))[:CHOICE].tolist()
    settings = replace(settings, starts=tuple(settings.starts[i] for i in choice))
    em = expectation_maximisation(problem, prior, denoiser, settings, best_start(problem, prior, denoiser, settings))
    for _ in em.run(settings.em):
        pass
    seen = features(*em.found()[0])
    return {"features": seen, "truth": like(k, mean_kernel(seen[:, :1], seen[:, 1:2]))}


def _make(folder: Path, validation: Path | None, held: bool, path: Path, seed: int, count: int, threads: int) -> int:
    torch.set_num_threads(threads)
    photos = [p for p in _split_once(folder, validation)[held] if min(p.shape[1:]) >= SIZE]
    if not photos:
        raise ValueError(f"no photo of {folder} is at least {SIZE} pixels on its short side")
    rows = [example(photos, seed + i) for i in range(count)]
    tensors = {name: torch.cat([row[name] for row in rows]).half() for name in rows[0]}
    save_shard(path, tensors, {"seed": seed, "examples": count})
    return count


@dataclass(frozen=True)
class Examples:
    """Shards of examples in a folder.

    Args:
        cache: the folder.
        folder: of photos.
        validation: folder of other photos; None: a tenth of the first is kept out.
        count: of training examples; an eighth as many are held out.
    """

    cache: Path
    folder: Path
    validation: Path | None
    count: int

    def make(self, processes: int, report: Callable[[int, int], None]) -> None:
        """Make what is missing.

        Args:
            processes: to make them in.
            report: called with examples done and their total.

        Raises:
            ValueError: no photos that are large enough, or shards of other settings.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        missing, done, total = [], 0, self.count + self.held
        for name, first, count in (("train", 0, self.count), ("held", 10**6, self.held)):
            for at in range(0, count, SHARD):
                path, seed, size = self.cache / f"{name}-{at // SHARD:05d}.safetensors", first + at, min(SHARD, count - at)
                if path.exists():
                    same_settings(path, {"seed": seed, "examples": size})
                    done += size
                else:
                    missing.append((name == "held", path, seed, size))
        report(done, total)
        threads = max(1, torch.get_num_threads() // processes)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            work = [pool.submit(_make, self.folder, self.validation, *task, threads) for task in missing]
            try:
                for finished in as_completed(work):
                    done += finished.result()
                    report(done, total)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @property
    def held(self) -> int:
        """Number of examples that are held out."""
        return max(1, self.count // 8)

    def read(self, name: str) -> tuple[Tensor, Tensor]:
        """Features (N, 6, 64, 64) and true kernels (N, 1, 64, 64) of "train" or "held"."""
        rows: dict[str, list[Tensor]] = {"features": [], "truth": []}
        for path in sorted(self.cache.glob(f"{name}-*.safetensors")):
            with safe_open(path, "pt") as file:
                for part, tensors in rows.items():
                    tensors.append(file.get_tensor(part).float())
        return torch.cat(rows["features"]), torch.cat(rows["truth"])


class RefinerLoss:
    """One minus the cosine of the angle between kernel and truth; examples are turned, mirrored and moved at random.

    Args:
        seen: features (N, 6, n, n).
        truth: (N, 1, n, n).
        batch: examples per step.
    """

    def __init__(self, seen: Tensor, truth: Tensor, batch: int = 16, device: str = "cpu") -> None:
        self.seen, self.truth, self.batch, self.device = seen, truth, batch, device

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features and true kernels of a batch."""
        i = torch.randint(len(self.seen), (self.batch,), generator=generator)
        turns, mirror = torch.randint(4, (2,), generator=generator).tolist()
        by = torch.randint(-8, 9, (2,), generator=generator).tolist()
        pair = (torch.rot90(v[i].roll(by, (-2, -1)), turns, (-2, -1)) for v in (self.seen, self.truth))
        v, truth = (p.flip(-1) if mirror % 2 else p for p in pair)
        return v.to(self.device), truth.to(self.device)

    def __call__(self, model: KernelRefiner, generator: torch.Generator) -> Tensor:
        """The loss of one batch."""
        v, truth = self.draw(generator)
        with torch.autocast(v.device.type, torch.bfloat16):
            made = model(v)
        return (1 - F.cosine_similarity(made.float().flatten(1), truth.flatten(1))).mean()


class RefinerScores:
    """MNC of held-out kernels: `mnc` refined, `mnc_mean` the mean of EM and its start, all there is without a network."""

    def __init__(self, seen: Tensor, truth: Tensor) -> None:
        self.seen, self.truth = seen, truth

    @torch.no_grad()
    def __call__(self, model: KernelRefiner) -> dict[str, float]:
        """The figures."""
        device = next(model.parameters()).device
        made = torch.cat([model.averaged(v.to(device)).cpu() for v in self.seen.split(16)])
        mean = normalize(mean_kernel(self.seen[:, :1], self.seen[:, 1:2]))
        return {"mnc": float(mnc(made, self.truth).mean()), "mnc_mean": float(mnc(mean, self.truth).mean())}


@dataclass(frozen=True)
class RefinerRecipe:
    """What is trained on what, by default.

    Args:
        examples: where they are.
        batch: examples per step.
        channels: of `KernelRefiner`.
        seed: of the first weights.
        device: to train on.
        compile: whether to use torch.compile.
    """

    examples: Examples
    batch: int = 16
    channels: int = 20
    seed: int = 0
    device: str = "cpu"
    compile: bool = False

    def setup(self) -> tuple[KernelRefiner, RefinerLoss]:
        """The network, which at first returns the mean of EM and its start, and its loss."""
        torch.manual_seed(self.seed)
        model = KernelRefiner(self.channels).to(self.device).to(memory_format=torch.channels_last)
        if self.compile:
            model.compile()
        return model, RefinerLoss(*self.examples.read("train"), self.batch, self.device)
