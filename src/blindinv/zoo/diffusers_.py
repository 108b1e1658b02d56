"""Priors from a folder in diffusers' layout: model_index.json and one folder per component.

    vae or vqvae      AutoencoderKL or VQModel (none: a prior of pixels)
    unet              UNet2DModel or UNet2DConditionModel
    scheduler         any of the DDPM family
    text_encoder, tokenizer   CLIPTextModel and its tokenizer, for a UNet2DConditionModel

Everything else that a folder may hold (safety checker, feature extractor) is not touched.
"""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindinv.priors.latent import LatentPrior
from blindinv.priors.pixel import PixelPrior
from blindinv.zoo.adapters import PREDICTIONS, KLAutoencoder, UNetDenoiser, VQAutoencoder, frozen, schedule_of

NEED_SD = "this prior takes text and needs transformers: pip install 'blindinv[sd]'"
AUTOENCODERS, UNETS = ("AutoencoderKL", "VQModel"), ("UNet2DModel", "UNet2DConditionModel")


def load_folder(folder: Path, dtype: torch.dtype = torch.float32, prompt: str = "") -> LatentPrior | PixelPrior:
    """A prior from a folder in diffusers' layout (of `save_pretrained`, or a hub snapshot).

    Args:
        folder: that holds model_index.json.
        dtype: of the networks; everything outside them stays float32.
        prompt: text condition, for models that take one; without classifier-free guidance.

    Raises:
        ValueError: no such folder, or components that cannot be a prior of RGB images.
        ImportError: a model with text, without transformers.
    """
    parts = components(folder)
    named = {kind: [n for n, c in parts.items() if c in kind] for kind in (AUTOENCODERS, UNETS)}
    if len(named[UNETS]) != 1 or len(named[AUTOENCODERS]) > 1 or "scheduler" not in parts:
        raise ValueError(
            f"{folder} holds {', '.join(f'{n} ({c})' for n, c in parts.items()) or 'nothing'}; a prior has one UNet2DModel or "
            "UNet2DConditionModel, a scheduler, and at most one AutoencoderKL or VQModel"
        )
    text = None
    if parts[named[UNETS][0]] == "UNet2DConditionModel":
        text = embed_prompt(folder, parts, prompt)
    elif prompt:
        raise ValueError(f"{folder} takes no text: leave the prompt out")
    unet = load_part(folder, named[UNETS][0], parts, dtype)
    scheduler = load_part(folder, "scheduler", parts)
    if not named[AUTOENCODERS]:
        return pixel_prior(unet, scheduler, dtype, text)
    vae = named[AUTOENCODERS][0]
    return latent_prior(load_part(folder, vae, parts, dtype), unet, scheduler, dtype, text, scaling(folder, vae, parts))


def components(folder: Path) -> dict[str, str]:
    """Component name -> class name, as model_index.json lists them.

    Raises:
        ValueError: there is none, or it is not one.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(f"{folder} has no model_index.json: it is not a pipeline in diffusers' layout")
    try:
        entries = json.loads(index.read_text()).items()
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{index} is not a pipeline index: {error}") from error
    return {name: entry[1] for name, entry in entries if isinstance(entry, list) and len(entry) == 2 and entry[1]}


def home(folder: Path, name: str) -> Path:
    """Folder of a component; some old pipelines (google/ddpm-*) keep their only network at the root."""
    return folder / name if (folder / name).is_dir() else folder


def load_part(folder: Path, name: str, parts: dict[str, str], dtype: torch.dtype | None = None) -> Any:
    """One component of a pipeline, by the class that model_index.json names. Pickled weights are only read as tensors.

    Raises:
        ValueError: unknown class, missing or broken files.
    """
    import diffusers

    cls, where = getattr(diffusers, parts[name], None), home(folder, name)
    if cls is None:
        raise ValueError(f"{folder}: diffusers has no class {parts[name]} for {name}")
    options: dict[str, Any] = {"local_files_only": True}
    if dtype is not None:
        options |= {"torch_dtype": dtype, "low_cpu_mem_usage": importlib.util.find_spec("accelerate") is not None}
        if only_half(where):
            options["variant"] = "fp16"
        options["output_loading_info"] = True
    try:
        part = cls.from_pretrained(where, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"cannot load {name} from {where}: {first_line(error)}") from error
    if dtype is None:
        return part
    if missing := part[1]["missing_keys"]:
        raise ValueError(
            f"the weights of {name} in {where} are incomplete: {len(missing)} tensors are missing, e.g. '{missing[0]}'"
        )
    return part[0]


def only_half(where: Path) -> bool:
    """Whether a folder has its best weights in half precision: safetensors before pickles, and then full before half."""
    kinds = (".safetensors", ".bin")
    files = [name.name for name in where.iterdir() if name.name.endswith(kinds)] if where.is_dir() else []
    kept = [f for f in files if f.endswith(".safetensors")] or files
    return bool(kept) and all(".fp16." in f for f in kept)


def first_line(error: BaseException) -> str:
    """The first line of a message, for errors of other libraries."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def scaling(folder: Path, name: str, parts: dict[str, str]) -> float | None:
    """Scaling factor where the autoencoder's config leaves it out; None: what its class says.

    For a VQModel that is 1: the first latent diffusion models, and CompVis/ldm-celebahq-256 with them, do not scale
    their latents, and their configs are older than the entry. (diffusers fills in 0.18215, which is Stable Diffusion's.)
    """
    config = json.loads((home(folder, name) / "config.json").read_text())
    return 1.0 if parts[name] == "VQModel" and "scaling_factor" not in config else None


def embed_prompt(folder: Path, parts: dict[str, str], prompt: str) -> Tensor:
    """(1, tokens, D) embedding of the prompt; tokenizer and text encoder are loaded for this and dropped.

    Raises:
        ImportError: transformers is missing.
        ValueError: the pipeline's text encoder is none, or not CLIP's.
    """
    if parts.get("text_encoder") != "CLIPTextModel" or parts.get("tokenizer") not in ("CLIPTokenizer", "CLIPTokenizerFast"):
        raise ValueError(f"{folder}: a UNet2DConditionModel needs a text_encoder (CLIPTextModel) and a tokenizer (CLIPTokenizer)")
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise ImportError(NEED_SD) from error
    try:
        with quiet():
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot load the text encoder of {folder}: {first_line(error)}") from error
    length = encoder.config.max_position_embeddings
    ids = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    return text_embedding(encoder, ids)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers while files are read."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@torch.no_grad()
def text_embedding(encoder: Any, ids: Tensor) -> Tensor:
    """Last hidden states (1, tokens, D) of a CLIP text encoder, float32."""
    return encoder.float().eval()(ids)[0].float().clone()


def check(unet: Any, channels: int) -> None:
    """Refuse networks that need more than z_t, t and a prompt.

    Raises:
        ValueError: inpainting, class-conditional and SDXL-like models.
    """
    config = unet.config
    if config.in_channels != channels:
        raise ValueError(f"the unet takes {config.in_channels} channels where z has {channels}: not a plain generative model")
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        raise ValueError("class-conditional networks are not supported: the class of a photo is not known")
    if config.get("addition_embed_type") is not None or config.get("encoder_hid_dim") is not None:
        raise ValueError("networks with more conditions than one text (SDXL and the like) are not supported")


def prediction(scheduler: Any) -> str:
    """What the network predicts, by diffusers' name.

    Raises:
        ValueError: something else than eps, v or x0.
    """
    name = scheduler.config.get("prediction_type", "epsilon")
    if name not in PREDICTIONS:
        raise ValueError(f"prediction type '{name}' is none of {', '.join(PREDICTIONS)}")
    return name


def multiple(unet: Any) -> int:
    """What height and width of a UNet2DModel's input must be a multiple of; a UNet2DConditionModel takes any size."""
    return 1 if type(unet).__name__ == "UNet2DConditionModel" else 2 ** (len(unet.config.block_out_channels) - 1)


def latent_prior(
    vae: Any, unet: Any, scheduler: Any, dtype: torch.dtype, text: Tensor | None = None, factor: float | None = None
) -> LatentPrior:
    """A latent prior from diffusers' objects.

    E[z_0 | z_t] is never clipped, whatever the scheduler says: latents have no bounds.

    Args:
        vae: AutoencoderKL or VQModel.
        unet: UNet2DModel or UNet2DConditionModel.
        scheduler: of the DDPM family; its betas, prediction type and end are read.
        dtype: of the networks.
        text: (1, tokens, D) embedding, for a UNet2DConditionModel.
        factor: scaling factor, if not that of the autoencoder's config.

    Raises:
        ValueError: parts that do not belong together.
    """
    config, quantised = vae.config, type(vae).__name__ == "VQModel"
    if quantised and config.lookup_from_codebook:
        raise ValueError("a VQModel of token indices (lookup_from_codebook) has no continuous latents to diffuse")
    if config.in_channels != 3 or config.out_channels != 3:
        raise ValueError(f"the autoencoder is of images with {config.in_channels} channels; RGB is needed")
    channels = (config.vq_embed_dim or config.latent_channels) if quantised else config.latent_channels
    check(unet, channels)
    schedule = schedule_of(scheduler)
    return LatentPrior(
        (VQAutoencoder if quantised else KLAutoencoder)(frozen(vae, dtype)),
        UNetDenoiser(frozen(unet, dtype), schedule, PREDICTIONS[prediction(scheduler)], text, multiple(unet)),
        schedule,
        channels,
        2 ** (len(config.block_out_channels) - 1),
        shift=config.get("shift_factor") or 0.0,
        scale=1 / (config.scaling_factor if factor is None else factor),
    ).eval()


def pixel_prior(unet: Any, scheduler: Any, dtype: torch.dtype, text: Tensor | None = None) -> PixelPrior:
    """A pixel prior from diffusers' objects.

    The scheduler's `clip_sample` is honoured: pixels lie in [-1, 1], and so does their posterior mean.

    Args:
        unet: UNet2DModel (or UNet2DConditionModel with `text`) of RGB images.
        scheduler: of the DDPM family.
        dtype: of the network.
        text: (1, tokens, D) embedding, for a UNet2DConditionModel.

    Raises:
        ValueError: not a plain generative model of RGB images.
    """
    check(unet, 3)
    schedule = schedule_of(scheduler)
    limit = scheduler.config.get("clip_sample_range", 1.0) if scheduler.config.get("clip_sample") else None
    recover = PREDICTIONS[prediction(scheduler)]
    return PixelPrior(UNetDenoiser(frozen(unet, dtype), schedule, recover, text, multiple(unet), limit), schedule).eval()
