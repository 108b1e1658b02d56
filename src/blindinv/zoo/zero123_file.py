"""Zero123 from one file: the original checkpoint layout, as .safetensors. Nothing is fetched.

model.diffusion_model.*                 unet
first_stage_model.*                     autoencoder
cond_stage_model.model.visual.*         image encoder, under the names of OpenAI's CLIP
cc_projection.*                         projection of embedding and pose
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindinv.zoo.adapters import frozen, schedule_of
from blindinv.zoo.diffusers_ import first_line
from blindinv.zoo.single_file import CLIP_HEAD, PICKLES, UNET, VAE, Shapes, complete, network_configs, read_shapes
from blindinv.zoo.zero123 import NEED_SD, Zero123, linear

CLIP, PROJECTION = "cond_stage_model.model.visual.", "cc_projection."
CONVERT = (
    'python -c "import torch; from safetensors.torch import save_file; '
    "w = torch.load('{file}', map_location='cpu', weights_only=True)['state_dict']; "
    "save_file({{k: v.clone() for k, v in w.items() if not k.startswith('model_ema.')}}, '{out}')\""
)
OPENAI = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""OpenAI's names of CLIP's layers, and those of transformers."""


def load_zero123_file(path: Path, dtype: torch.dtype = torch.float32, stable: bool = False) -> Zero123:
    """Zero123 from one .safetensors file in the original layout (105000.ckpt, zero123-xl.ckpt and the like, converted).

    Args:
        path: the file.
        dtype: of the networks.
        stable: the pose is coded as in Stable Zero123.

    Raises:
        ValueError: another kind of file.
        ImportError: transformers is missing.
    """
    if path.suffix.lower() in PICKLES:
        line = CONVERT.format(file=path, out=path.with_suffix(".safetensors"))
        raise ValueError(
            f"{path} is a pickle, which can run code when it is opened; convert it once: {line} "
            "(if that stops at weights_only, the file holds more than tensors: change it to False only if you trust its source)"
        )
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    shapes = read_shapes(path, (UNET, VAE, CLIP, PROJECTION), "Zero123")
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise ImportError(NEED_SD) from error
    from diffusers import DDIMScheduler

    unet, vae = networks(path, shapes)
    tensors = part(path, (CLIP, PROJECTION))
    clip: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**clip_config(shapes)))
    load_openai(clip, {k.removeprefix(CLIP): v for k, v in tensors.items() if k.startswith(CLIP)}, path)
    scheduler = DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", set_alpha_to_one=False, clip_sample=False)
    projection = linear(tensors, PROJECTION.rstrip("."), str(path))
    return Zero123(
        frozen(vae, dtype),
        frozen(unet, dtype),
        clip.to(dtype).requires_grad_(False).eval(),
        projection,
        schedule_of(scheduler),
        stable,
    ).eval()


def networks(path: Path, shapes: Shapes) -> tuple[Any, Any]:
    """Unet and autoencoder of the file, float32.

    Raises:
        ValueError: they cannot be read, or tensors are missing.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with tempfile.TemporaryDirectory() as configs:
        for name, config in network_configs(shapes).items():
            (Path(configs) / name).mkdir()
            (Path(configs) / name / "config.json").write_text(json.dumps(config))
        options = {"config": configs, "local_files_only": True}
        try:
            unet = UNet2DConditionModel.from_single_file(str(path), subfolder="unet", **options)
            vae = AutoencoderKL.from_single_file(str(path), subfolder="vae", **options)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ValueError(f"cannot load {path}: {first_line(error)}") from error
    for prefix, model in ((UNET, unet), (VAE, vae)):
        complete(path, shapes, prefix, model)
    return unet, vae


def part(path: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors whose names begin so, float32."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
        return {name: file.get_tensor(name).float() for name in names}


def clip_config(shapes: Shapes) -> dict[str, Any]:
    """Sizes of the image encoder, for transformers' CLIPVisionConfig.

    Raises:
        ValueError: a tensor is missing.
    """
    try:
        width, _, patch, _ = shapes[f"{CLIP}conv1.weight"]
        places = shapes[f"{CLIP}positional_embedding"][0] - 1
        inner, out = shapes[f"{CLIP}transformer.resblocks.0.mlp.c_fc.weight"][0], shapes[f"{CLIP}proj"][1]
    except KeyError as error:
        raise ValueError(f"not Zero123: the checkpoint has no tensor {error}") from error
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": sum(name.startswith(CLIP) and name.endswith("mlp.c_fc.weight") for name in shapes),
        "num_attention_heads": max(1, width // CLIP_HEAD),
        "image_size": round(places**0.5) * patch,
        "patch_size": patch,
        "projection_dim": out,
        "hidden_act": "quick_gelu",
    }


def load_openai(clip: Any, tensors: dict[str, Tensor], path: Path) -> None:
    """Fill a CLIPVisionModelWithProjection with tensors under OpenAI's names.

    Raises:
        ValueError: some are missing or do not fit.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name == "proj":
            renamed["visual_projection.weight"] = value.T.contiguous()
        elif found := re.fullmatch(r"(.*)attn\.in_proj_(weight|bias)", name):
            block = _renamed(found[1])
            for which, third in zip("qkv", value.chunk(3), strict=True):
                renamed[f"vision_model.{block}self_attn.{which}_proj.{found[2]}"] = third.contiguous()
        else:
            renamed["vision_model." + _renamed(name)] = value
    needed = {k for k in clip.state_dict() if not k.endswith("position_ids")}
    if missing := sorted(needed - renamed.keys()):
        raise ValueError(f"{path} is incomplete: {len(missing)} tensors are missing of '{CLIP}*'")
    try:
        clip.load_state_dict({k: v for k, v in renamed.items() if k in needed}, strict=False)
    except RuntimeError as error:
        raise ValueError(f"the image encoder of {path} does not fit: {first_line(error)}") from error


def _renamed(name: str) -> str:
    name = name.replace("transformer.resblocks.", "encoder.layers.")
    for theirs, ours in OPENAI.items():
        name = re.sub(rf"(^|(?<=\.)){re.escape(theirs)}(?=\.|$)", ours, name)
    return name
