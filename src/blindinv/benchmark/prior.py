"""What a prior of images can do by itself, so that a weak prior is seen.

Three parts for a latent prior: what its autoencoder loses; denoising, of images by the package's own sampler and of latents
by the network; and samples from nothing. A prior of pixels has the last two. Photos are the middle squares of a folder's
pictures at 256 x 256, as in the protocol photos-64.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import torch
from PIL import Image
from torch import Tensor

from blindinv.baselines.denoisers import CLASSICAL, Denoiser
from blindinv.benchmark.photos64 import SIZE, photos64_task
from blindinv.benchmark.records import versions
from blindinv.benchmark.rows import Context
from blindinv.benchmark.table import markdown_lines
from blindinv.kernels.measure import delta
from blindinv.methods.em import start_image
from blindinv.methods.latentdem import Settings, latentdem
from blindinv.metrics import psnr
from blindinv.priors.latent import LatentPrior
from blindinv.priors.pixel import PixelPrior
from blindinv.problem import Deblurring, run
from blindinv.training.figures import draw_samples, sheet
from blindinv.training.loop import write_atomically
from blindinv.zoo.spectra import with_spectra

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.4)
TIMES = (50, 100, 200, 420, 700)
LATENT_NOISE = 0.1
SAMPLES, SAMPLE_STEPS = 8, 100

Scores = dict[str, dict[str, list[float]]]
Tick = Callable[[str], object]

ROUND_TRIP = (
    "PSNR of decode(encode(x)), and with Gaussian noise of 0.1 standard deviations on the latents: what no prior of these "
    "latents can exceed."
)
IMAGES = (
    "Mean PSNR of photos with Gaussian noise of a known level on [0, 1]. A latent prior is no denoiser of pixels: it has never "
    "seen noise on them. What it can do is solve the inverse problem y = x + n, and that is what is shown: the final sampler "
    "of the default method with a delta as its known kernel and nothing else in the result (no sparse-gradient "
    "deconvolution, no least noise level). It draws one sample of the posterior, where the others estimate one image; a "
    "sample has up to twice the squared error of the posterior mean. The Wiener filter is the sampler's own first image: what "
    "stands above it is the network's. The classical denoisers are scikit-image's; they are told the noise level, and their "
    "other settings were chosen for PSNR on photos of a training set."
)
LATENTS = (
    "Mean PSNR of decoded latents: noise is added to the latents of a photo, z_t = sqrt(abar) z_0 + sqrt(1 - abar) n, "
    "as in training. The Wiener filter is the best estimate for Gaussian latents of the training photos' spectrum, all "
    "channels at once; the network works on top of it. In brackets: noise over signal."
)


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        name: of the figures in the JSON file.
        title: heading.
        words: what is measured.
        lines: heading and rows of the table.
        scores: PSNR of every photo, by row and column.
    """

    name: str
    title: str
    words: str
    lines: list[list[str]]
    scores: Scores


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and its noise.

    Attributes:
        name: of the file.
        x: (1, 3, 256, 256) in [0, 1].
        seed: of the noise.
    """

    name: str
    x: Tensor
    seed: int

    def noise(self, like: Tensor) -> Tensor:
        """The photo's own standard normal noise of a shape (1, C, H, W), on any device the same."""
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(self.seed)).to(like)


def read_photos(folder: Path, seed: int = 0) -> list[Photo]:
    """The photos of a folder, sorted by name, at most 64.

    Raises:
        ValueError: no pictures there, or a file that is no picture.
    """
    return [Photo(c.name, c.truth, 1_000_003 * (seed + 1) + i) for i, c in enumerate(photos64_task(folder, sigma=0).cases)]


def report(context: Context, photos: Sequence[Photo], limit: int | None, tick: Tick = print) -> Iterator[Section]:
    """The tables, each as soon as it is done.

    Args:
        context: prior, device and seed.
        photos: the round trip takes all of them.
        limit: denoising takes so many of them, evenly spaced.
        tick: called with a line about what is being done.
    """
    prior = context.prior()
    photos = [Photo(p.name, p.x.to(context.device), p.seed) for p in photos]
    some = evenly(photos, limit)
    if isinstance(prior, PixelPrior):
        from blindinv.benchmark.pixel_prior import pixel_denoising

        yield pixel_denoising(prior, some, tick)
        return
    yield round_trip(prior, photos, tick)
    yield image_denoising(context, some, tick)
    yield latent_denoising(prior, some, tick)


def evenly(photos: Sequence[Photo], count: int | None) -> list[Photo]:
    """Up to so many photos, evenly spaced in the list."""
    places = torch.linspace(0, len(photos) - 1, min(count or len(photos), len(photos))).round().int().tolist()
    return [photos[i] for i in places]


@torch.no_grad()
def round_trip(prior: LatentPrior, photos: Sequence[Photo], tick: Tick = print) -> Section:
    """What the autoencoder loses."""
    scores: dict[str, list[float]] = {"clean": [], "with noise": []}
    for p in photos:
        tick(f"round trip: {p.name}")
        z = prior.encode(p.x)
        scores["clean"].append(_psnr(prior.decode(z), p))
        scores["with noise"].append(_psnr(prior.decode(z + LATENT_NOISE * p.noise(z)), p))
    rows = [[name, f"{fmean(v):.2f}", f"{median(v):.2f}", f"{min(v):.2f}"] for name, v in scores.items()]
    return Section(
        "round_trip",
        f"Round trip of the autoencoder, {len(photos)} photos",
        ROUND_TRIP,
        [["latents", "mean", "median", "worst"], *rows],
        {name: {"psnr": v} for name, v in scores.items()},
    )


@torch.no_grad()
def image_denoising(context: Context, photos: Sequence[Photo], tick: Tick = print) -> Section:
    """Photos with noise on their pixels."""
    scores: Scores = {name: {f"{s:g}": [] for s in LEVELS} for name in ("noisy", "Wiener", "sampler", *CLASSICAL)}
    for sigma in LEVELS:
        for p in photos:
            tick(f"denoising, sigma {sigma:g}: {p.name}")
            y = p.x + sigma * p.noise(p.x)
            wiener, sample = sampler(context, y, sigma)
            made = {"noisy": y, "Wiener": wiener, "sampler": sample}
            made |= {name: _classical(f, y, sigma) for name, f in CLASSICAL.items()}
            for name, image in made.items():
                scores[name][f"{sigma:g}"].append(_psnr(image, p))
    return _section("image_denoising", f"Denoising of images, {len(photos)} photos", IMAGES, "sigma", scores)


def sampler(context: Context, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The Wiener estimate of an image (1, 3, H, W) with noise, and the sample that starts there."""
    from blindinv.zoo import load_kernel_denoiser

    prior, settings = with_spectra(context.prior()), Settings(sparse=0, floor=0)
    problem = Deblurring.of(y, sigma, circular=True, kernel=delta(9), seed=context.seed)
    assert problem.kernel is not None
    start = start_image(problem, prior, problem.kernel)
    return start, run(problem, latentdem(problem, prior, load_kernel_denoiser().to(context.device), settings)).image


@torch.no_grad()
def latent_denoising(prior: LatentPrior, photos: Sequence[Photo], tick: Tick = print) -> Section:
    """Latents with noise; the Wiener row is for priors that work on top of a Wiener filter."""
    gaussian = getattr(prior.denoiser, "gaussian", None)
    names = ["nothing", *(["Wiener"] if gaussian else []), "network"]
    columns = {t: f"{t} ({(1 / prior.schedule.at(t) - 1) ** 0.5:.2f})" for t in TIMES}
    scores: Scores = {name: {c: [] for c in columns.values()} for name in names}
    for p in photos:
        tick(f"denoising of latents: {p.name}")
        z = prior.encode(p.x)
        for t, column in columns.items():
            abar = prior.schedule.at(t)
            z_t = abar**0.5 * z + (1 - abar) ** 0.5 * p.noise(z)
            made = {"nothing": z_t / abar**0.5, "network": prior.denoise(z_t, t)}
            if gaussian:
                made["Wiener"] = gaussian(z_t, torch.full((1,), abar, device=z.device))[0]
            for name in names:
                scores[name][column].append(_psnr(prior.decode(made[name]), p))
    return _section("latent_denoising", f"Denoising of latents, {len(photos)} photos", LATENTS, "t", scores)


def _section(name: str, title: str, words: str, corner: str, scores: Scores) -> Section:
    columns = list(next(iter(scores.values())))
    rows = [[row, *(f"{fmean(of[c]):.2f}" for c in columns)] for row, of in scores.items()]
    return Section(name, title, words, [[corner, *columns], *rows], scores)


def _psnr(image: Tensor, photo: Photo) -> float:
    return float(psnr(image, photo.x))


def _classical(denoise: Denoiser, y: Tensor, sigma: float) -> Tensor:
    image = denoise(y[0].permute(1, 2, 0).cpu().numpy(), sigma)
    return torch.from_numpy(image).permute(2, 0, 1)[None].to(y)


def samples_picture(context: Context) -> Image.Image:
    """Eight unconditional samples of 256 x 256 by DDIM with 100 steps and eta = 1."""
    prior = context.prior()
    x = draw_samples(prior, SAMPLES, SIZE, SAMPLE_STEPS, context.seed, eta=1.0)
    half = SAMPLES // 2
    return sheet([("unconditional samples, 100 DDIM steps, eta 1", x[:half]), ("", x[half:])])


def write(out: Path, context: Context, photos: Sequence[Photo], sections: Sequence[Section], samples: Image.Image) -> Path:
    """prior.md, prior.json and samples.png in a folder, each whole or not at all; "pixel-" before these names for such a prior.

    Returns:
        the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    kind = "pixel-" if isinstance(context.prior(), PixelPrior) else ""
    page = [f"# The prior `{context.prior_name}`", *(f"## {s.title}\n\n{s.words}\n\n{markdown_lines(s.lines)}" for s in sections)]
    page.append(f"## Samples\n\nUnconditional, 100 DDIM steps, eta 1, none left out.\n\n![samples]({kind}samples.png)\n")
    facts = {
        "prior": context.prior_name,
        "seed": context.seed,
        "device": context.device,
        "photos": [p.name for p in photos],
        "sha256": context.weights(("prior",)),
        "versions": versions(),
        "psnr": {s.name: s.scores for s in sections},
    }
    write_atomically(out / f"{kind}samples.png", lambda p: samples.save(p, "PNG", optimize=True))
    write_atomically(out / f"{kind}prior.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8"))
    path = out / f"{kind}prior.md"
    write_atomically(path, lambda p: p.write_text("\n\n".join(page), encoding="utf-8"))
    return path
