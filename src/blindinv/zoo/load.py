"""A prior by name: shipped, on this machine, or on the hub."""

import copy
import re
from os import PathLike
from pathlib import Path

import torch

from blindinv.priors.kernel import KernelDenoiser, KernelRefiner
from blindinv.priors.kernel_diffusion import KernelDiffusion
from blindinv.priors.latent import LatentPrior
from blindinv.priors.pixel import PixelPrior
from blindinv.priors.tilt import TiltDiffusion

HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")


def load_prior(
    name: str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    prompt: str = "",
    local_only: bool = False,
) -> LatentPrior | PixelPrior:
    """A diffusion prior of images.

    Looked for in this order: the name of a shipped prior, a folder or file on this machine, a hub id. Only the last
    uses the network. Example: `load_prior("photos")`, `load_prior("CompVis/ldm-celebahq-256", device="cuda")`.

    Args:
        name: "photos"; weights of `blindinv train prior` or `blindinv train pixel-prior`; a folder in diffusers' layout
            (model_index.json and a folder per component); a .safetensors checkpoint of Stable Diffusion 1.x in the original
            layout; or a hub id "owner/name".
        device: of the networks.
        dtype: that the networks compute in (bfloat16 is safer than float16 where gradients pass); images and latents outside
            them are float32 always. None: for shipped priors and yours the quickest of the device, which is bfloat16 on CUDA
            and on CPUs with matrix units and float32 elsewhere; for folders, other files and hub ids float32.
        prompt: text condition of Stable Diffusion, default the empty prompt; no classifier-free guidance.
        local_only: take a hub id from the cache of earlier downloads, without the network.

    Raises:
        ValueError: unknown name, or files that are not a prior.
        OSError: a hub id that cannot be fetched.
        ImportError: Stable Diffusion without transformers (`pip install 'blindinv[sd]'`).
    """
    return _load(str(name), dtype, prompt, local_only).to(device)


def _load(name: str, dtype: torch.dtype | None, prompt: str, local_only: bool) -> LatentPrior | PixelPrior:
    from blindinv.zoo.shipped import SHIPPED, is_ours, load_own, load_shipped

    path = Path(name).expanduser()
    if name in SHIPPED:
        if prompt:
            raise ValueError(f"the prior '{name}' takes no text: leave the prompt out")
        prior = copy.deepcopy(load_shipped(name))  # the shipped one is cached, and this one may go to another device
        prior.dtype = dtype
        return prior
    if path.is_file() and is_ours(path):
        prior = load_own(path, prompt)
        prior.dtype = dtype
        return prior
    dtype = dtype or torch.float32
    if path.is_file():
        from blindinv.zoo.single_file import load_file

        return load_file(path, dtype, prompt)
    if (name and path.is_dir()) or HUB.fullmatch(name):
        from blindinv.zoo.diffusers_ import load_folder

        return load_folder(path if path.is_dir() else fetch(name, local_only), dtype, prompt)
    raise ValueError(
        f"unknown prior '{name}': give {', '.join(repr(s) for s in SHIPPED)}, an existing folder in diffusers' layout, "
        "an existing .safetensors file of `blindinv train` or Stable Diffusion 1.x, or a hub id like 'CompVis/ldm-celebahq-256'"
    )


def fetch(name: str, local_only: bool = False) -> Path:
    """The folder of a hub pipeline in the local cache, downloaded if need be, without safety checker and the like.

    Args:
        name: hub id "owner/name".
        local_only: never use the network.

    Raises:
        OSError: not there, or not reachable.
        ImportError: a pipeline with text, without transformers.
    """
    from diffusers import DiffusionPipeline

    from blindinv.zoo.diffusers_ import NEED_SD, first_line

    try:
        unused = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
        return Path(DiffusionPipeline.download(name, local_files_only=local_only, **unused))
    except ImportError as error:
        raise ImportError(NEED_SD) from error
    except Exception as error:  # the hub's client has many kinds
        where = "in the cache of earlier downloads" if local_only else "on the hub, or the hub cannot be reached"
        raise OSError(f"prior '{name}' is neither a folder here nor {where}: {first_line(error)}") from error


def load_kernel_denoiser(*, dtype: torch.dtype | None = None) -> KernelDenoiser:
    """The shipped plug-and-play denoiser of blur kernels.

    Args:
        dtype: that it computes in, None: the quickest of the device (as in `load_prior`).
    """
    from blindinv.zoo.shipped import load_kernel_denoiser as load

    return load(dtype)


def load_kernel_prior(
    name: str | PathLike[str] = "kernels64", *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> KernelDiffusion:
    """A diffusion prior of blur kernels.

    Args:
        name: "kernels64", the shipped one, of 64x64 pixels; or a weights file of `blindinv train kernel-prior`.
        device: of the network.
        dtype: that it computes in, None: the quickest of the device (as in `load_prior`).

    Raises:
        ValueError: neither, or weights of something else.
    """
    from blindinv.zoo.shipped import KERNEL_PRIOR, build_kernel_prior, read_kind

    prior = build_kernel_prior(*read_kind(_weights_file(name, "kernels64"), KERNEL_PRIOR)).to(device)
    prior.dtype = dtype
    return prior


def load_kernel_refiner(name: str | PathLike[str] = "kernel_refiner", *, device: torch.device | str = "cpu") -> KernelRefiner:
    """The network that corrects the kernels of `latentdem-refined`, float32.

    Args:
        name: "kernel_refiner", the shipped one; or a weights file of `blindinv train kernel-refiner`.
        device: of the network.

    Raises:
        ValueError: neither, or weights of something else.
    """
    from blindinv.zoo.shipped import KERNEL_REFINER, build_kernel_refiner, read_kind

    return build_kernel_refiner(*read_kind(_weights_file(name, "kernel_refiner"), KERNEL_REFINER)).to(device)


def load_tilt_prior(
    name: str | PathLike[str] = "tilt", *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> TiltDiffusion:
    """A diffusion prior of the tilt maps of turbulence, for any image size.

    Args:
        name: "tilt", the shipped one; or a weights file of `blindinv train tilt-prior`.
        device: of the network.
        dtype: that it computes in, None: the quickest of the device (as in `load_prior`).

    Raises:
        ValueError: neither, or weights of something else.
    """
    from blindinv.zoo.shipped import TILT_PRIOR, build_tilt_prior, read_kind

    prior = build_tilt_prior(*read_kind(_weights_file(name, "tilt"), TILT_PRIOR)).to(device)
    prior.dtype = dtype
    return prior


def _weights_file(name: str | PathLike[str], shipped: str) -> Path:
    from blindinv.zoo.shipped import WEIGHTS

    path = WEIGHTS / f"{shipped}.safetensors" if str(name) == shipped else Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"'{name}' is neither '{shipped}' nor an existing file")
    return path
