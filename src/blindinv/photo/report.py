"""What was done to a photo, in figures: report.json."""

import json
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindinv.hashing import tensor_hash
from blindinv.kernels.measure import kernel_mse, mnc
from blindinv.methods.method import Models
from blindinv.metrics import best_shift, psnr, ssim
from blindinv.photo.job import Job
from blindinv.photo.settings import Settings
from blindinv.precision import precisions
from blindinv.zoo.shipped import weights_hash

PACKAGES = ("blindinv", "torch", "diffusers", "numpy", "pillow")
RADIUS = 8


def report(job: Job, settings: Settings, models: Models, sigma: Tensor, seconds: float) -> dict[str, Any]:
    """Everything that is needed to do it again, and what was found; only seconds and memory differ between equal runs.

    Args:
        job: what was done.
        settings: of the run.
        models: that were used.
        sigma: noise level that was used, (1, 1, 1, 1).
        seconds: that it took.
    """
    height, width = job.photo.pixels.shape[-2:]
    return {
        "photo": str(job.path),
        "photo_sha256": job.sha256,
        "height": height,
        "width": width,
        "bits": job.photo.bits,
        "parameters": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()},
        "kernel_size": job.problem.kernel_size,
        "sigma": float(sigma.flatten()[0]),
        "sigma_estimated": settings.sigma is None and settings.photons is None,
        "boundary": "circular" if job.problem.circular else "free",
        "weights_sha256": {
            name: tensor_hash(net) if isinstance(net, nn.Module) else None
            for name, net in vars(models).items()
            if net is not None
        },
        "shipped_files_sha256": weights_hash(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": device_name(settings.device),
        "precision": precisions(vars(models), settings.device),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 3),
        "peak_memory_mib": peak_memory(settings.device),
    }


def figures(job: Job, image: Tensor, kernel: Tensor) -> dict[str, Any]:
    """PSNR (dB) and SSIM before and after, and MSE and MNC of the kernel, each where the truth is known.

    Images are compared after the best whole-pixel shift within 8 pixels; where borders are free, without the pixels that
    the shift rolled in.

    Args:
        job: holds the truth.
        image: (1, 3, H, W) in [0, 1].
        kernel: (1, 1, n, n).
    """
    facts: dict[str, Any] = {}
    if job.truth is not None:
        facts["before"] = _quality(job.photo.pixels, job.truth, job.problem.circular)
        facts["after"] = _quality(image, job.truth, job.problem.circular)
    if job.true_kernel is not None:
        facts["kernel"] = {"mse": float(kernel_mse(kernel, job.true_kernel)), "mnc": float(mnc(kernel, job.true_kernel))}
    return facts


def _quality(x: Tensor, truth: Tensor, circular: bool) -> dict[str, Any]:
    aligned, shift = best_shift(x, truth, radius=RADIUS)
    edge = 0 if circular else int(shift.abs().max())
    h, w = truth.shape[-2:]
    inside = (..., slice(edge, h - edge), slice(edge, w - edge))
    return {
        "psnr": float(psnr(aligned[inside], truth[inside])),
        "ssim": float(ssim(aligned[inside], truth[inside])),
        "shift": shift[0].tolist(),
    }


def device_name(device: str) -> str:
    """Such as `cpu (x86_64)` or `cuda (NVIDIA H100)`."""
    kind = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return f"{device} ({kind})"


def peak_memory(device: str) -> dict[str, float]:
    """Largest resident memory of this process so far, and of CUDA tensors, in MiB; only what the system tells."""
    facts = {}
    if sys.platform != "win32":
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        facts["resident"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
    if device.startswith("cuda"):
        facts["cuda"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return facts


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """As indented JSON."""
    path.write_text(json.dumps(facts, indent=2) + "\n")
