"""The card of trained weights: a page of Markdown with data, recipe, figures and licence, written beside them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from blindinv.training.loop import State, write_atomically

LICENCE = "MIT"


@dataclass(frozen=True)
class Card:
    """What a card says.

    Args:
        title: of the page.
        what: the network, in a sentence or two.
        data: what it was trained on.
        validation: what the metrics were measured on.
        recipe: every parameter of the training.
        metrics: what the columns of the metrics are, in a sentence.
    """

    title: str
    what: str
    data: str
    validation: str
    recipe: Mapping[str, object]
    metrics: str

    def text(self, state: State, weights: Path) -> str:
        """The page, Markdown.

        Args:
            state: of the finished training.
            weights: the file the card belongs to.
        """
        last = state.history[-1] if state.history else {}
        figures = {k: f"{v:.4g}" for k, v in last.items() if k not in ("step", "seconds")}
        parts = [
            f"# {self.title}\n\n{self.what}",
            f"## Data\n\n- Training: {self.data}\n- Validation: {self.validation}",
            "## Recipe\n\n" + _table(("parameter", "value"), {k: _plain(v) for k, v in self.recipe.items()}),
            f"Trained for {state.step} steps in {state.seconds:.0f} seconds; AdamW; these are the averaged weights (EMA).",
            f"## Metrics\n\n{self.metrics}\n\n" + _table(("metric", "value"), figures),
            f"## Licence\n\n{LICENCE}",
            f"## File\n\n`{weights.name}`, {weights.stat().st_size} bytes, SHA-256 `{sha256(weights)}`",
        ]
        return "\n\n".join(parts) + "\n"

    def write(self, state: State, weights: Path) -> Path:
        """Write the page beside the weights, under their name with the ending `.md`."""
        path, text = weights.with_suffix(".md"), self.text(state, weights)
        write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
        return path


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_and_count(folder: Path, count: int) -> str:
    """A folder's own name, without the path to it, and the number of photos."""
    return f"{count} photos of the folder `{folder.resolve().name}`"


def held_out(validation: Path | None, photos: Tensor) -> str:
    """What validation photos (N, 3, S, S) are crops of."""
    crops = f"{len(photos)} centre crop{'s' * (len(photos) > 1)} of {photos.shape[-1]}x{photos.shape[-1]} pixels"
    return f"{crops} of " + (
        "photos kept out of the same folder" if validation is None else f"the folder `{validation.resolve().name}`"
    )


def autoencoder_card(data: str, validation: str, recipe: Mapping[str, object]) -> Card:
    """The card of an autoencoder."""
    return Card(
        "Autoencoder of photos",
        "Fully convolutional: photos to latents of a quarter of the resolution, and back.",
        data,
        validation,
        recipe,
        "`psnr`: of the round trip in dB; `psnr_noisy`: with noise of 0.1 deviations on the latents; `loss`: of training.",
    )


def prior_card(data: str, validation: str, recipe: Mapping[str, object]) -> Card:
    """The card of a latent prior."""
    return Card(
        "Latent diffusion prior of photos",
        "A fully convolutional autoencoder, and a UNet on top of a Wiener filter that denoises its latents.",
        data,
        validation,
        recipe,
        "`ratio_t`: mean squared error of denoised latents at timestep t over that of a Wiener filter; `loss`: of training.",
    )


def kernel_denoiser_card(size: int, recipe: Mapping[str, object]) -> Card:
    """The card of a kernel denoiser that was trained on kernels of size x size pixels."""
    return Card(
        "Denoiser of blur kernels",
        "A DnCNN with the noise level as a second input channel, for plug-and-play estimation of kernels.",
        f"camera-shake kernels of {size}x{size} pixels, intensity 0.1 to 1, made on the fly",
        "64 other kernels, intensity 0.5",
        recipe,
        "`rmse_over_sigma_s`: error at noise level s over s; `log_mean`: logarithm of their mean; `loss`: of training.",
    )


def kernel_prior_card(size: int, recipe: Mapping[str, object]) -> Card:
    """The card of a diffusion prior of kernels of size x size pixels."""
    return Card(
        "Diffusion prior of blur kernels",
        f"A UNet that denoises blur kernels of {size}x{size} pixels, preconditioned by each pixel's mean and deviation.",
        "a bank of synthetic kernels, turned and mirrored: camera shake of intensity 0.2 to 1 with probability 5/6, else "
        "isotropic Gaussians of 0.1 to 5 pixels (of a 64x64 kernel); no photos",
        "128 other kernels",
        recipe,
        "`ratio_t`: mean squared error of denoised kernels at timestep t over that of independent Gaussian pixels; "
        "`loss`: of training.",
    )


def tilt_prior_card(crop: int, recipe: Mapping[str, object]) -> Card:
    """The card of a diffusion prior of tilt maps that was trained on crop x crop pixels."""
    return Card(
        "Diffusion prior of turbulence tilt maps",
        "A UNet on top of a Wiener filter that denoises displacement fields of two components, of any size.",
        f"simulated maps of {crop}x{crop} pixels at strength 1 (patches of smoothed noise, as in BlindDPS); no photos",
        "32 other maps of 128x128 pixels",
        recipe,
        "`ratio_t`: mean squared error of denoised maps at timestep t over that of a Wiener filter; `loss`: of training.",
    )


def pixel_prior_card(data: str, validation: str, recipe: Mapping[str, object]) -> Card:
    """The card of a pixel-space prior of photos."""
    return Card(
        "Pixel-space diffusion prior of photos",
        "A UNet of 4x4 patches on top of a Wiener filter that denoises photos in [-1, 1], of any size; DDPM's linear schedule.",
        data,
        validation,
        recipe,
        "`ratio_t`: mean squared error of denoised photos at timestep t over that of a Wiener filter; `loss`: of training.",
    )


def view_prior_card(objects: int, pictures: int, size: int, held_out: int, recipe: Mapping[str, object]) -> Card:
    """The card of a view prior that was trained on `pictures` pictures of size x size pixels of each of `objects` objects."""
    return Card(
        "View prior of procedural objects",
        "An autoencoder, a network that lifts a picture into space and looks at it from elsewhere, and a UNet that diffuses "
        "what this does not tell.",
        f"{pictures} pictures of {size}x{size} pixels of each of {objects} procedural objects of the family `blocks` (coloured "
        "upright bodies with two to four parts), elevations of -15 to 50 degrees, radii of 1.7 to 2, white ground; no photos, "
        "but the autoencoder started as that of the shipped photos",
        f"{held_out} other objects",
        recipe,
        "Mean squared errors on latents of variance 1. `guess`: of the first guess; `error_t`: of z_0 denoised at timestep t; "
        "`_wrong`: with the pose of another view, so that the use that is made of the pose is seen; `loss`: of training.",
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    return "none" if value is None else str(value)


def _table(head: Sequence[str], rows: Mapping[str, str]) -> str:
    lines = [" | ".join(head), "--- | ---", *(f"{k} | {v}" for k, v in rows.items())]
    return "\n".join(f"| {line} |" for line in lines)
