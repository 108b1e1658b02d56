"""What can be asked of a deblurring run, checked."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from blindinv.photo.errors import PhotoError

PRECISIONS = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """Settings of a run, the same for every photo.

    Attributes:
        method: name of the method.
        prior: name of a shipped prior, a path or a hub id, or None: the method's own.
        kernel_prior: name of a shipped diffusion prior of kernels or a path, or None: the shipped one, where one is needed.
        restorer: path of a supervised network, or None: the shipped one, where one is needed.
        kernel_size: side of the kernel to be found.
        sigma: noise level on [0, 1], or None: estimated.
        photons: of Poisson noise at white, or None: no such noise.
        circular: whether borders are periodic, or None: found out.
        steps: of the reverse diffusion, or None: the method's own number.
        skip: (K, S_T) of the skip-gradient technique, or None: the method's own.
        samples: posterior samples.
        kernel: file of a known kernel.
        truth: file of the sharp photo, for figures.
        true_kernel: file of the true kernel, for figures.
        linear: whether to work in linear light.
        seed: of all random numbers.
        device: such as "cpu" or "cuda".
        precision: that networks compute in: "auto", "float32" or "bfloat16".
    """

    method: str = "latentdem"
    prior: str | None = None
    kernel_prior: str | None = None
    restorer: str | None = None
    kernel_size: int = 64
    sigma: float | None = None
    photons: float | None = None
    circular: bool | None = None
    steps: int | None = None
    skip: tuple[int, int] | None = None
    samples: int = 1
    kernel: Path | None = None
    truth: Path | None = None
    true_kernel: Path | None = None
    linear: bool = False
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Check what can be checked without a photo."""
        if not 9 <= self.kernel_size <= 129:
            raise PhotoError(f"--kernel-size {self.kernel_size}: a kernel is 9 to 129 pixels wide")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise PhotoError(f"--steps {self.steps}: give 1 to 1000 steps")
        if self.photons is not None and not (math.isfinite(self.photons) and self.photons > 0):
            raise PhotoError(f"--photons {self.photons:g}: give the photons of a white pixel, more than 0")
        if self.samples < 1:
            raise PhotoError(f"--samples {self.samples}: give 1 or more")
        if self.seed < 0:
            raise PhotoError(f"--seed {self.seed}: give 0 or more")
        if self.precision not in PRECISIONS:
            raise PhotoError(f"--precision {self.precision}: give {', '.join(PRECISIONS)}")

    @property
    def dtype(self) -> torch.dtype | None:
        """Of `precision`; None for the quickest of the device."""
        return PRECISIONS[self.precision]


def parse_sigma(text: str) -> float | None:
    """`auto` -> None, a number in [0, 1) -> itself."""
    if text == "auto":
        return None
    try:
        sigma = float(text)
    except ValueError:
        sigma = math.nan
    if not 0 <= sigma < 1:
        raise PhotoError(f"--sigma {text}: give auto, or a noise level on [0, 1], such as 0.02 (5 grey levels of 255 are 0.0196)")
    return sigma


def parse_boundary(text: str) -> bool | None:
    """`auto` -> None, `circular` -> True, `free` -> False."""
    known = {"auto": None, "circular": True, "free": False}
    if text not in known:
        raise PhotoError(f"--boundary {text}: give auto, free or circular")
    return known[text]


def parse_skip(text: str | None) -> tuple[int, int] | None:
    """`8,500` -> (8, 500): from t = 1000 down to S_T = 500, one step in K = 8 is a full one."""
    if text is None:
        return None
    try:
        every, above = (int(part) for part in text.split(","))
    except ValueError:
        every, above = 0, 0
    if every < 1 or not 0 <= above <= 1000:
        raise PhotoError(f"--skip {text}: give K,S_T with K >= 1 and S_T from 0 to 1000, such as 8,500")
    return every, above


def parse_device(text: str) -> str:
    """`auto` -> `cuda` if there is one, else `cpu`; other names are checked."""
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(text)
    except RuntimeError:
        raise PhotoError(f"--device {text}: give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PhotoError(f"--device {text}: there is no such CUDA device on this machine; use --device cpu")
    try:
        torch.empty(1, device=device).cpu()
    except (RuntimeError, NotImplementedError, AssertionError):
        raise PhotoError(f"--device {text}: this device cannot be used on this machine; use --device cpu") from None
    return text


def use_threads(count: int | None) -> None:
    """Compute on so many threads from now on; None: as many as OpenMP says, see `share_cores`."""
    if count is None:
        return
    if not 1 <= count <= 1024:
        raise PhotoError(f"--threads {count}: give 1 to 1024")
    torch.set_num_threads(count)
