"""Tiny random pipelines of every kind, in diffusers' layout."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)

KINDS = ("epsilon", "v_prediction", "sample")


def unet(channels: int, levels: int = 2) -> UNet2DModel:
    return UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8,) * levels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        norm_num_groups=4,
        attention_head_dim=4,
    )


def kl(levels: int = 4, **options) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        norm_num_groups=4,
        **options,
    )


def vq(**options) -> VQModel:
    model = VQModel(
        block_out_channels=(8,) * 3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=3,
        num_vq_embeddings=32,
        norm_num_groups=4,
        **options,
    )
    model.quantize.embedding.weight.data.normal_()
    return model


def conditional_unet(**options) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=2,
        norm_num_groups=4,
        **options,
    )


def scheduler(kind: str = "epsilon", cls=DDIMScheduler, **options):
    sd = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=kind)
    return cls(**{**sd, **options})


def clip(folder: Path):
    """A CLIP text model of one layer, and a tokenizer whose words are letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [c + end for end in ("", "</w>") for c in "abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>"
    )
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=77,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
    return CLIPTextModel(config), tokenizer


def stable_diffusion(folder: Path, kind: str = "epsilon", **options) -> StableDiffusionPipeline:
    text_encoder, tokenizer = clip(folder / "words")
    pipeline = StableDiffusionPipeline(
        vae=kl(scaling_factor=0.3),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=conditional_unet(**options),
        scheduler=scheduler(kind, PNDMScheduler, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return pipeline


def ldm_vq(folder: Path, kind: str = "epsilon") -> LDMPipeline:
    pipeline = LDMPipeline(vqvae=vq(scaling_factor=0.8), unet=unet(3), scheduler=scheduler(kind, clip_sample=False))
    pipeline.save_pretrained(folder)
    return pipeline


def ldm_kl(folder: Path, kind: str = "epsilon") -> LDMPipeline:
    vae = kl(3, scaling_factor=0.5, shift_factor=0.25)
    pipeline = LDMPipeline(vqvae=vae, unet=unet(4, 3), scheduler=scheduler(kind))
    pipeline.save_pretrained(folder)
    return pipeline


def ddpm(folder: Path, kind: str = "epsilon", **options) -> DDPMPipeline:
    pipeline = DDPMPipeline(unet=unet(3), scheduler=DDPMScheduler(prediction_type=kind, **options))
    pipeline.save_pretrained(folder)
    return pipeline


def original_layout(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """The weights of a Stable Diffusion 1.x pipeline (4 levels, 2 layers) under the names of the original checkpoints."""
    names: dict[str, str] = {}
    for key in pipeline.unet.state_dict():
        names[f"unet.{key}"] = "model.diffusion_model." + original_unet(key)
    for key in pipeline.vae.state_dict():
        names[f"vae.{key}"] = "first_stage_model." + original_vae(key)
    for key in pipeline.text_encoder.state_dict():
        names[f"text_encoder.{key}"] = "cond_stage_model.transformer.text_model." + key.removeprefix("text_model.")
    out = {}
    for name, original in names.items():
        part, key = name.split(".", 1)
        value = getattr(pipeline, part).state_dict()[key]
        conv = part == "vae" and ".attn_1." in original and original.endswith("weight") and "norm" not in original
        out[original] = (value[..., None, None] if conv else value).contiguous()
    return out


def original_resnet(rest: str) -> str:
    names = dict(norm1="in_layers.0", conv1="in_layers.2", time_emb_proj="emb_layers.1", norm2="out_layers.0")
    names |= dict(conv2="out_layers.3", conv_shortcut="skip_connection")
    layer, leaf = rest.split(".")
    return f"{names[layer]}.{leaf}"


def original_unet(key: str) -> str:
    ends = dict(conv_in="input_blocks.0.0", conv_norm_out="out.0", conv_out="out.2")
    head, _, rest = key.partition(".")
    if head in ends:
        return f"{ends[head]}.{rest}"
    if head == "time_embedding":
        return rest.replace("linear_1", "time_embed.0").replace("linear_2", "time_embed.2")
    if head == "mid_block":
        kind, index, rest = rest.split(".", 2)
        return f"middle_block.1.{rest}" if kind == "attentions" else f"middle_block.{2 * int(index)}.{original_resnet(rest)}"
    block, kind, layer, rest = rest.split(".", 3)
    place = 3 * int(block) + int(layer)
    if head == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * int(block) + 3}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{place + 1}." + (f"1.{rest}" if kind == "attentions" else f"0.{original_resnet(rest)}")
    if kind == "upsamplers":
        return f"output_blocks.{3 * int(block) + 2}.{1 if block == '0' else 2}.{rest}"
    return f"output_blocks.{place}." + (f"1.{rest}" if kind == "attentions" else f"0.{original_resnet(rest)}")


def original_vae(key: str) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = key.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    key = key.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm").replace("to_out.0", "proj_out")
    key = key.replace("to_q", "q").replace("to_k", "k").replace("to_v", "v")
    for i in range(4):
        key = key.replace(f"down_blocks.{i}.resnets", f"down.{i}.block").replace(f"down_blocks.{i}.", f"down.{i}.")
        key = key.replace(f"up_blocks.{i}.resnets", f"up.{3 - i}.block").replace(f"up_blocks.{i}.", f"up.{3 - i}.")
    return key
