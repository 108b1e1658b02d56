"""Stable Diffusion 1.x from one file: the original checkpoint layout, as .safetensors.

Nothing is fetched: the sizes of the networks are read from the shapes of their weights, and the empty prompt needs no
vocabulary (start token, then end tokens). Everything else of a config is the same in all versions 1.1 to 1.5.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindinv.priors.latent import LatentPrior
from blindinv.zoo.diffusers_ import NEED_SD, first_line, latent_prior, text_embedding

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
CLIP_HEAD = 64
Shapes = dict[str, list[int]]


def load_file(path: Path, dtype: torch.dtype = torch.float32, prompt: str = "") -> LatentPrior:
    """Stable Diffusion 1.x from one .safetensors file in the original layout.

    Args:
        path: the file.
        dtype: of the networks; everything outside them stays float32.
        prompt: must be empty: one file has no tokenizer.

    Raises:
        ValueError: another kind of file, or a prompt.
        ImportError: transformers is missing.
    """
    if path.suffix.lower() in PICKLES:
        raise ValueError(f"{path} is a pickle, which can run code when it is opened; convert it to .safetensors")
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    if prompt:
        raise ValueError(f"{path} holds no tokenizer: for a prompt give a folder in diffusers' layout")
    shapes = read_shapes(path)
    try:
        from transformers import CLIPTextModel
    except ImportError as error:
        raise ImportError(NEED_SD) from error
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    with tempfile.TemporaryDirectory() as configs:
        for name, config in configs_of(shapes).items():
            (Path(configs) / name).mkdir()
            (Path(configs) / name / "config.json").write_text(json.dumps(config))
        options = {"config": configs, "local_files_only": True}
        try:
            encoder = text_encoder(CLIPTextModel, path, configs)
            unet = UNet2DConditionModel.from_single_file(str(path), subfolder="unet", **options)
            vae = AutoencoderKL.from_single_file(str(path), subfolder="vae", **options)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ValueError(f"cannot load {path}: {first_line(error)}") from error
    for prefix, model in ((UNET, unet), (VAE, vae), (TEXT, encoder)):
        complete(path, shapes, prefix, model)
    scheduler = DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", set_alpha_to_one=False, clip_sample=False)
    return latent_prior(vae, unet, scheduler, dtype, empty_prompt(encoder))


def read_shapes(path: Path, parts: tuple[str, ...] = (UNET, VAE, TEXT), model: str = "Stable Diffusion 1.x") -> Shapes:
    """Name -> shape of every tensor, without reading any.

    Args:
        path: the file.
        parts: the beginnings of names that it must have.
        model: what a file with these is, for the message.

    Raises:
        ValueError: not a safetensors file, or not that model in the original layout.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {first_line(error)}") from error
    missing = [part for part in parts if not any(name.startswith(part) for name in shapes)]
    if missing:
        raise ValueError(
            f"{path} is not {model} in the original layout (no tensors '{missing[0]}*'); "
            "other models are loaded from a folder in diffusers' layout"
        )
    return shapes


def configs_of(shapes: Shapes) -> dict[str, dict[str, Any]]:
    """Configs of unet, vae and text_encoder for diffusers and transformers, from the shapes of the weights.

    Raises:
        ValueError: a tensor is missing that every version 1.x has.
    """
    networks = network_configs(shapes)
    try:
        vocabulary, hidden = shapes[f"{TEXT}embeddings.token_embedding.weight"]
        text = {
            "model_type": "clip_text_model",
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": shapes[f"{TEXT}encoder.layers.0.mlp.fc1.weight"][0],
            "num_hidden_layers": sum(name.startswith(TEXT) and name.endswith("mlp.fc1.weight") for name in shapes),
            "num_attention_heads": max(1, hidden // CLIP_HEAD),
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "max_position_embeddings": shapes[f"{TEXT}embeddings.position_embedding.weight"][0],
        }
    except KeyError as error:
        raise ValueError(f"not Stable Diffusion 1.x: the checkpoint has no tensor {error}") from error
    return {**networks, "text_encoder": text}


def network_configs(shapes: Shapes) -> dict[str, dict[str, Any]]:
    """Configs of unet and vae, which all descendants of Stable Diffusion 1.x share; otherwise as `configs_of`."""
    try:
        width = [shapes[f"{UNET}input_blocks.{1 + 3 * i}.0.in_layers.2.weight"][0] for i in range(4)]
        depth = [shapes[f"{VAE}encoder.down.{i}.block.0.conv1.weight"][0] for i in range(4)]
        unet = {
            "in_channels": shapes[f"{UNET}input_blocks.0.0.weight"][1],
            "block_out_channels": width,
            "layers_per_block": 2,
            "cross_attention_dim": shapes[f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"][1],
            "attention_head_dim": 8,
        }
        vae = {
            "block_out_channels": depth,
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "latent_channels": shapes[f"{VAE}post_quant_conv.weight"][1],
        }
    except KeyError as error:
        raise ValueError(f"not Stable Diffusion 1.x: the checkpoint has no tensor {error}") from error
    return {
        "unet": {"_class_name": "UNet2DConditionModel", **unet},
        "vae": {"_class_name": "AutoencoderKL", **vae},
    }


def text_encoder(cls: Any, path: Path, configs: str) -> Any:
    """The CLIP text model of the file, an object of `cls`, float32."""
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(TEXT)]  # noqa: SIM118
        weights = {name: file.get_tensor(name).float() for name in names if not name.endswith("position_ids")}
    return create_diffusers_clip_model_from_ldm(
        cls, weights, subfolder="text_encoder", config=configs, torch_dtype=torch.float32, local_files_only=True
    )


def empty_prompt(encoder: Any) -> Tensor:
    """(1, tokens, D): CLIP's last two tokens are start and end, and the empty prompt is one start and then ends."""
    ids = torch.full((1, encoder.config.max_position_embeddings), encoder.config.vocab_size - 1)
    ids[0, 0] = encoder.config.vocab_size - 2
    return text_embedding(encoder, ids)


def complete(path: Path, shapes: Shapes, prefix: str, model: nn.Module) -> None:
    """Both layouts have the same tensors under different names; diffusers would leave missing ones random.

    Raises:
        ValueError: the file has fewer than the model.
    """
    has = sum(name.startswith(prefix) and not name.endswith("position_ids") for name in shapes)
    needs = sum(not name.endswith("position_ids") for name in model.state_dict())
    if has < needs:
        raise ValueError(f"{path} is incomplete: {needs - has} tensors are missing of '{prefix}*'")
