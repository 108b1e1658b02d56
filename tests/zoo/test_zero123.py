"""Zero123 from both diffusers layouts and from an original checkpoint, on tiny random ones made with save_pretrained."""

import json
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_pipelines as tiny
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from blindinv.methods.posefree import posefree
from blindinv.views.camera import orbit
from blindinv.views.search import Search, best, find_poses
from blindinv.zoo.zero123 import CLIP_MEAN, CLIP_STD, Zero123, load_zero123, only_half
from blindinv.zoo.zero123_file import clip_config

D = 32  # width of CLIP's embedding and of cross-attention; Zero123 has 768
LAYOUTS = {"A": ("cc_projection", "projection"), "B": ("clip_camera_projection", "proj")}
POLAR = torch.tensor([1.3, 1.4])


def parts(original: bool = False) -> dict:
    """Networks of Zero123's kind; `original` ones have as many levels and layers as its checkpoint."""
    levels = 4 if original else 2
    unet = dict(in_channels=8, out_channels=4, cross_attention_dim=D, sample_size=8, attention_head_dim=8)
    if original:
        unet |= dict(block_out_channels=(32, 32, 64, 64))
    else:
        unet |= dict(
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
    vae = dict(block_out_channels=(32,) * levels, layers_per_block=2 if original else 1, latent_channels=4)
    vae |= dict(down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels)
    width = dict(hidden_size=64, num_attention_heads=1, intermediate_size=96, num_hidden_layers=2)
    clip = CLIPVisionConfig(**width, image_size=32, patch_size=8, projection_dim=D, hidden_act="quick_gelu")
    return {
        "vae": AutoencoderKL(**vae, scaling_factor=0.18215).eval(),
        "unet": UNet2DConditionModel(**unet).eval(),
        "image_encoder": CLIPVisionModelWithProjection(clip).eval(),
        "scheduler": DDIMScheduler(
            1000, 0.00085, 0.012, "scaled_linear", steps_offset=1, clip_sample=False, set_alpha_to_one=False
        ),
        "projection": torch.nn.Linear(D + 4, D),
    }


def save(folder: Path, made: dict, layout: str = "A", form: str = "safetensors") -> Path:
    """A repository in layout A or B; `form` is safetensors, fp16 (a variant, no full one) or bin."""
    where, key = LAYOUTS[layout]
    options = dict(safe_serialization=form != "bin") | (dict(variant="fp16") if form == "fp16" else {})
    for name in ("vae", "unet"):
        made[name].save_pretrained(folder / name, **options)
    made["image_encoder"].save_pretrained(folder / "image_encoder", **({} if form == "bin" else options))
    if form == "bin":  # transformers writes safetensors only
        file = folder / "image_encoder" / "model.safetensors"
        torch.save(load_file(file), folder / "image_encoder" / "pytorch_model.bin")
        file.unlink()
    made["scheduler"].save_pretrained(folder / "scheduler")
    (folder / where).mkdir()
    tensors = {f"{key}.{name}": value.detach() for name, value in made["projection"].named_parameters()}
    if form == "bin":
        torch.save(tensors, folder / where / "diffusion_pytorch_model.bin")
    else:
        middle = ".fp16" if form == "fp16" else ""
        save_file(tensors, folder / where / f"diffusion_pytorch_model{middle}.safetensors")
    index = {
        "_class_name": {"A": "Zero1to3StableDiffusionPipeline", "B": "Zero123Pipeline"}[layout],
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        where: {"A": ["pipeline_zero1to3", "CCProjection"], "B": ["zero123", "CLIPCameraProjection"]}[layout],
        "safety_checker": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def original(path: Path, made: dict) -> Path:
    """The same weights under the names of the original checkpoint."""
    weights = {"model.diffusion_model." + tiny.original_unet(k): v for k, v in made["unet"].state_dict().items()}
    for key, value in made["vae"].state_dict().items():
        name = tiny.original_vae(key)
        conv = ".attn_1." in name and name.endswith("weight") and "norm" not in name
        weights["first_stage_model." + name] = value[..., None, None] if conv else value
    weights |= {"cond_stage_model.model.visual." + k: v for k, v in openai(made["image_encoder"].state_dict()).items()}
    weights |= {f"cc_projection.{k}": v for k, v in made["projection"].state_dict().items()}
    weights |= {"model_ema.decay": torch.ones(1), "cond_stage_model.model.logit_scale": torch.ones(1)}
    save_file({k: v.detach().contiguous().clone() for k, v in weights.items()}, path)
    return path


def openai(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's visual tower under OpenAI's names."""
    v = {k.removeprefix("vision_model."): t for k, t in state.items()}
    out = {
        "proj": v["visual_projection.weight"].T,
        "conv1.weight": v["embeddings.patch_embedding.weight"],
        "class_embedding": v["embeddings.class_embedding"],
        "positional_embedding": v["embeddings.position_embedding.weight"],
    }
    for end in ("weight", "bias"):
        out |= {f"ln_pre.{end}": v[f"pre_layrnorm.{end}"], f"ln_post.{end}": v[f"post_layernorm.{end}"]}
        for i in range(2):
            to, ours = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
            out[f"{to}attn.in_proj_{end}"] = torch.cat([v[f"{ours}self_attn.{q}_proj.{end}"] for q in "qkv"])
            out[f"{to}attn.out_proj.{end}"] = v[f"{ours}self_attn.out_proj.{end}"]
            out |= {f"{to}ln_{k}.{end}": v[f"{ours}layer_norm{k}.{end}"] for k in (1, 2)}
            out |= {f"{to}mlp.c_fc.{end}": v[f"{ours}mlp.fc1.{end}"], f"{to}mlp.c_proj.{end}": v[f"{ours}mlp.fc2.{end}"]}
    return out


def pictures(count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def question(prior: Zero123) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, z and poses."""
    x, g = pictures(), torch.Generator().manual_seed(4)
    return x, torch.randn(prior.shape(tuple(x.shape)), generator=g), 0.5 * torch.randn(2, 3, generator=g)


def answer(prior: Zero123, t: int = 400, **options) -> Tensor:
    x, z, pose = question(prior)
    with torch.no_grad():
        return prior.eps(z, t, prior.condition(x, POLAR), pose, **options)


def by_hand(made: dict, x: Tensor, z: Tensor, pose: Tensor, fourth: Tensor, t: int, guidance: float) -> Tensor:
    """Zero123 as its authors' code computes it, with the parts themselves."""
    small = F.interpolate(x, (32, 32), mode="bicubic", align_corners=True)
    clip = (small - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    embedding = made["image_encoder"](clip).image_embeds
    polar, azimuth = pose[:, 0], pose[:, 1]
    code = torch.stack([polar, torch.sin(azimuth), torch.cos(azimuth), fourth], -1)
    token = made["projection"](torch.cat([embedding, code], -1))[:, None]
    latents = made["vae"].encode(x * 2 - 1).latent_dist.mode()
    given = made["unet"](torch.cat([z, latents], 1), t, token).sample
    nothing = made["unet"](torch.cat([z, 0 * latents], 1), t, 0 * token).sample
    return nothing + guidance * (given - nothing)


@pytest.fixture(scope="module")
def made() -> dict:
    torch.manual_seed(0)
    return parts()


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("zero123") / "prior", made)


@pytest.fixture(scope="module")
def prior(folder) -> Zero123:
    return load_zero123(folder)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("stable", [False, True])
def test_eps_is_that_of_the_parts(made, folder, stable, guidance):
    prior = load_zero123(folder, stable=stable)
    x, z, pose = question(prior)
    with torch.no_grad():
        expected = by_hand(made, x, z, pose, POLAR if stable else pose[:, 2], 400, guidance)
    torch.testing.assert_close(answer(prior, guidance=guidance), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["safetensors", "fp16", "bin"])
@pytest.mark.parametrize("layout", ["A", "B"])
def test_both_layouts_in_every_form_are_the_same_model(made, prior, tmp_path, layout, form):
    other = load_zero123(save(tmp_path / "prior", made, layout, form))
    assert other.antialias == (layout == "B")
    torch.testing.assert_close(answer(other), answer(prior), atol=1e-4, rtol=1e-4)  # CLIP sees 32 pixels: no resizing
    x = pictures()
    torch.testing.assert_close(other.encode(x), prior.encode(x), atol=1e-5, rtol=1e-4)


def test_an_original_checkpoint_is_the_folder(tmp_path):
    made = parts(original=True)
    one = load_zero123(save(tmp_path / "folder", made))
    two = load_zero123(original(tmp_path / "zero123.safetensors", made))
    torch.testing.assert_close(answer(two), answer(one), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(two.encode(pictures()), one.encode(pictures()), atol=1e-5, rtol=1e-4)
    assert torch.allclose(two.schedule.abar, one.schedule.abar) and two.schedule.final == pytest.approx(one.schedule.final)
    weights = load_file(tmp_path / "zero123.safetensors")
    for name in (
        "cc_projection.bias",
        "model.diffusion_model.out.2.weight",
        "cond_stage_model.model.visual.transformer.resblocks.1.ln_2.bias",
    ):
        save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "part.safetensors")
        with pytest.raises(ValueError, match=r"missing|no linear layer"):
            load_zero123(tmp_path / "part.safetensors")


def test_a_pickle_is_refused_with_a_line_that_converts_it(tmp_path):
    weights = {"cc_projection.weight": torch.ones(2, 2), "model_ema.decay": torch.ones(1)}
    torch.save({"state_dict": weights}, tmp_path / "zero 123.ckpt")
    with pytest.raises(ValueError, match="pickle") as caught:
        load_zero123(tmp_path / "zero 123.ckpt")
    line = str(caught.value).split("convert it once: ")[1].split(" (if that stops")[0]
    subprocess.run([sys.executable, *shlex.split(line)[1:]], check=True)
    converted = load_file(tmp_path / "zero 123.safetensors")
    assert list(converted) == ["cc_projection.weight"]
    with pytest.raises(ValueError, match="is not Zero123 in the original layout"):
        load_zero123(tmp_path / "zero 123.safetensors")


def test_sizes_of_clip_are_read_from_the_shapes():
    """Those of ViT-L/14, which Zero123 uses."""
    v = "cond_stage_model.model.visual."
    shapes = {f"{v}conv1.weight": [1024, 3, 14, 14], f"{v}positional_embedding": [257, 1024], f"{v}proj": [1024, 768]}
    shapes |= {f"{v}transformer.resblocks.{i}.mlp.c_fc.weight": [4096, 1024] for i in range(24)}
    config = clip_config(shapes)
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
    assert [config[k] for k in sizes] == [1024, 4096, 24, 16, 224, 14]
    assert config["projection_dim"] == 768


@pytest.mark.parametrize("stable", [False, True])
def test_eps_is_differentiable_in_the_pose(folder, stable):
    prior = load_zero123(folder, stable=stable)
    x, z, pose = question(prior)
    prior, cond = prior.double(), prior.condition(x, POLAR)
    cond = type(cond)({k: v.double() for k, v in cond.features.items()}, POLAR.double())
    direction = torch.randn(z.shape, dtype=torch.float64)

    def value(pose: Tensor, polar: Tensor) -> Tensor:
        return (prior.eps(z.double(), 400, cond.at(polar), pose) * direction).sum()

    where = pose.double().requires_grad_(), POLAR.double().requires_grad_()
    gradients = torch.autograd.grad(value(*where), where, allow_unused=True)
    unused = gradients[0][:, 2] if stable else gradients[1]
    assert unused is None or (unused == 0).all()
    assert torch.autograd.gradcheck(value, where, eps=1e-4, atol=1e-3, rtol=1e-2)


def test_the_azimuth_is_periodic(prior):
    x, z, pose = question(prior)
    cond = prior.condition(x, POLAR)
    with torch.no_grad():
        a, b = (prior.eps(z, 400, cond, pose + torch.tensor([0.0, turn, 0.0])) for turn in (0.0, 2 * math.pi))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_latents_of_the_picture_have_no_scaling_factor(prior):
    x = pictures()
    torch.testing.assert_close(prior.encode(x), 0.18215 * prior.condition(x, POLAR).features["latents"])


def test_decode_undoes_the_scaling(made, prior):
    z = torch.randn(1, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(2 * prior.decode(0.18215 * z) - 1, made["vae"].decode(z).sample, atol=1e-5, rtol=1e-5)


def test_pictures_reach_clip_at_its_size_with_either_resizing(folder):
    prior, x = load_zero123(folder), pictures(size=80)
    plain = prior.preprocess(x)
    prior.antialias = True
    smooth = prior.preprocess(x)
    assert plain.shape == smooth.shape == (2, 3, 32, 32)
    assert smooth.std() < 0.8 * plain.std()  # noise is averaged only by one of them


def test_half_precision_stays_inside(folder, prior):
    half = load_zero123(folder, dtype=torch.bfloat16)
    assert next(half.unet.parameters()).dtype == next(half.clip.parameters()).dtype == torch.bfloat16
    out = answer(half)
    assert out.dtype == torch.float32
    assert (out - answer(prior)).abs().mean() < 0.05 * answer(prior).abs().mean()


@pytest.mark.parametrize(("name", "expected"), [("stable-zero123", True), ("zero123-xl", False)])
def test_stable_zero123_is_known_by_its_name(folder, tmp_path, name, expected):
    shutil.copytree(folder, tmp_path / name)
    assert load_zero123(tmp_path / name).stable is expected
    assert load_zero123(tmp_path / name, stable=not expected).stable is not expected


def test_the_licence_is_that_of_the_card(folder, tmp_path):
    assert load_zero123(folder).licence is None
    shutil.copytree(folder, tmp_path / "prior")
    (tmp_path / "prior" / "README.md").write_text("---\ntags: [3d]\nlicense: openrail\n---\n# A model\nlicense: none\n")
    assert load_zero123(tmp_path / "prior").licence == "openrail"


@pytest.mark.parametrize("missing", ["vae", "unet", "image_encoder", "scheduler", "cc_projection"])
def test_what_a_folder_lacks_is_named(folder, tmp_path, missing):
    shutil.copytree(folder, tmp_path / "prior")
    shutil.rmtree(tmp_path / "prior" / missing)
    index = json.loads((folder / "model_index.json").read_text())
    index.pop(missing)
    (tmp_path / "prior" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=missing):
        load_zero123(tmp_path / "prior")


@pytest.mark.parametrize("name", ["vae", "unet", "image_encoder", "cc_projection"])
def test_weights_that_are_missing_or_broken_are_refused(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "prior")
    (file,) = (tmp_path / "prior" / name).glob("*.safetensors")
    tensors = load_file(file)
    save_file({k: v for k, v in tensors.items() if k != sorted(tensors)[0]}, file)
    with pytest.raises(ValueError, match=r"missing|no linear layer"):
        load_zero123(tmp_path / "prior")
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"cannot (load|read)"):
        load_zero123(tmp_path / "prior")


def test_parts_that_do_not_belong_together_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "prior")
    projection = {"projection.weight": torch.zeros(D, D + 3), "projection.bias": torch.zeros(D)}
    save_file(projection, tmp_path / "prior" / "cc_projection" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ValueError, match=r"35 numbers.*make 36"):
        load_zero123(tmp_path / "prior")
    unet = UNet2DConditionModel.from_config({**UNet2DConditionModel.load_config(folder / "unet"), "in_channels": 4})
    unet.save_pretrained(tmp_path / "prior" / "unet")
    with pytest.raises(ValueError, match="maps 4 channels"):
        load_zero123(tmp_path / "prior")


def test_a_model_of_velocities_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "prior")
    DDIMScheduler(prediction_type="v_prediction").save_pretrained(tmp_path / "prior" / "scheduler")
    with pytest.raises(ValueError, match="predicts v_prediction"):
        load_zero123(tmp_path / "prior")


def test_names_that_are_nothing(tmp_path):
    for name in ("", "nothing", str(tmp_path / "absent")):
        with pytest.raises(ValueError, match=r"unknown view prior|no model_index"):
            load_zero123(name)
    with pytest.raises(OSError, match="in the cache of earlier downloads"):
        load_zero123("nobody/zero123-none", local_only=True)


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"blindinv\[sd\]"):
        load_zero123(folder)


def test_weights_of_a_folder_are_chosen_safe_first_then_full(tmp_path):
    for names, half in (
        (["a.safetensors", "a.fp16.safetensors"], False),
        (["a.bin", "a.fp16.safetensors"], True),
        (["a.bin", "a.fp16.bin"], False),
        (["a.fp16.bin"], True),
        ([], False),
    ):
        where = tmp_path / "_".join(names or ["none"])
        where.mkdir()
        for name in names:
            (where / name).touch()
        assert only_half(where) is half
    assert not only_half(tmp_path / "absent")


def test_a_tiny_zero123_runs_through_search_and_sampling(prior):
    y, polar = pictures(3), 1.3
    found = find_poses(y, prior, polar, Search(azimuths=2, keep=2, steps=2, levels=(400,), draws=1))
    start = best(found, y)
    targets = orbit(2).relative_to(orbit(2)[:1])
    *_, last = posefree(y[None], prior, targets, start, polar=polar, steps=3)
    assert last.x.shape == (1, 2, 3, 32, 32) and torch.isfinite(last.x).all()
    assert last.phi.shape == (1, 2, 3) and not torch.equal(last.phi, start)
