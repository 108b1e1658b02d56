import json
import shutil
import sys

import pytest
import tiny_pipelines as tiny
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file

from blindinv.kernels.measure import delta
from blindinv.methods.latentdem_paper import latentdem_paper
from blindinv.mstep.hqs import l2
from blindinv.priors.latent import LatentPrior
from blindinv.priors.pixel import PixelPrior
from blindinv.problem import Deblurring, run
from blindinv.zoo import load_prior
from blindinv.zoo.adapters import FLOOR, schedule_of
from blindinv.zoo.diffusers_ import latent_prior, pixel_prior
from blindinv.zoo.single_file import configs_of

LATENT = {"stable diffusion": tiny.stable_diffusion, "ldm-vq": tiny.ldm_vq, "ldm-kl": tiny.ldm_kl}
CLIP_NORM = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
BUILD = {**LATENT, "ddpm": tiny.ddpm}


def images(n: int = 1, size: int = 64) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(3))


def latents(prior: LatentPrior | PixelPrior, n: int = 2) -> torch.Tensor:
    return torch.randn(prior.shape((n, 3, 64, 64)), generator=torch.Generator().manual_seed(4))


def network(pipeline, z: torch.Tensor, t: int) -> torch.Tensor:
    """The network's own output, by the pipeline's own parts."""
    if not hasattr(pipeline, "text_encoder"):
        return pipeline.unet(z, t).sample
    text, _ = pipeline.encode_prompt("", "cpu", 1, do_classifier_free_guidance=False)
    return pipeline.unet(z, t, text.expand(len(z), -1, -1)).sample


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("name", list(BUILD))
def test_denoise_is_the_posterior_mean_of_diffusers_schedulers(tmp_path, name, kind):
    pipeline = BUILD[name](tmp_path / "prior", kind)
    prior = load_prior(tmp_path / "prior")
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=name == "ddpm", prediction_type=kind)
    ddim.set_timesteps(1000)
    for t in (0, 400, 999):
        z = latents(prior)
        with torch.no_grad():
            expected = ddim.step(network(pipeline, z, t), t, z).pred_original_sample
        assert torch.allclose(prior.denoise(z, t), expected, atol=1e-4, rtol=1e-3)


def test_kinds_shapes_and_frozen_weights(tmp_path):
    for name, (channels, factor) in {"stable diffusion": (4, 8), "ldm-vq": (3, 4), "ldm-kl": (4, 4), "ddpm": (3, 1)}.items():
        folder = tmp_path / name
        BUILD[name](folder)
        prior = load_prior(str(folder))
        assert isinstance(prior, PixelPrior if name == "ddpm" else LatentPrior)
        shape = (2, channels, 64 // factor, 96 // factor)
        assert prior.shape((2, 3, 64, 96)) == shape == prior.encode(torch.rand(2, 3, 64, 96)).shape
        assert prior.decode(torch.randn(shape)).shape == (2, 3, 64, 96)
        assert not prior.training and not any(p.requires_grad for p in prior.parameters())


def test_shift_and_scale_of_the_autoencoder(tmp_path):
    vae = tiny.ldm_kl(tmp_path).vqvae
    prior, x = load_prior(tmp_path), images()
    with torch.no_grad():
        z = (vae.encode(2 * x - 1).latent_dist.mean - 0.25) * 0.5
        back = (vae.decode(z / 0.5 + 0.25).sample + 1) / 2
    assert torch.allclose(prior.encode(x), z, atol=1e-5)
    assert torch.allclose(prior.decode(z), back, atol=1e-5)


def test_vq_decodes_code_vectors_and_passes_gradients(tmp_path):
    vqvae = tiny.ldm_vq(tmp_path).vqvae
    prior, x = load_prior(tmp_path), images()
    with torch.no_grad():
        assert torch.allclose(prior.encode(x), vqvae.encode(2 * x - 1).latents * 0.8, atol=1e-5)
        z = latents(prior)
        assert torch.allclose(prior.decode(z), vqvae.decode(z / 0.8).sample / 2 + 0.5, atol=1e-5)
        codes = 0.8 * vqvae.quantize(z / 0.8)[0]
        assert torch.allclose(prior.decode(z), prior.decode(codes), atol=1e-5)
    z.requires_grad_()
    assert torch.autograd.grad(prior.decode(z).square().sum(), z)[0].abs().amin((1, 2, 3)).isfinite().all()
    assert torch.autograd.grad(prior.decode(z).square().sum(), z)[0].abs().sum() > 0


def test_vq_without_a_scaling_factor_is_not_scaled(tmp_path):
    tiny.ldm_vq(tmp_path)
    config = json.loads((tmp_path / "vqvae/config.json").read_text())
    del config["scaling_factor"]
    (tmp_path / "vqvae/config.json").write_text(json.dumps(config))
    assert load_prior(tmp_path).scale.item() == 1.0


def test_names_of_weights_in_the_first_releases_of_diffusers(tmp_path):
    """CompVis/ldm-celebahq-256 and google/ddpm-* call the parts of attention so."""
    tiny.ldm_vq(tmp_path)
    prior, x = load_prior(tmp_path), images()
    z, old = latents(prior), {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for part in ("vqvae", "unet"):
        file = tmp_path / part / "diffusion_pytorch_model.safetensors"
        weights = {k: v.clone() for k, v in load_file(file).items()}
        for new, name in old.items():
            weights = {k.replace(new, name): v for k, v in weights.items()}
        assert any("proj_attn" in k for k in weights)
        save_file(weights, file)
    again = load_prior(tmp_path)
    assert torch.equal(again.denoise(z, 300), prior.denoise(z, 300))
    assert torch.equal(again.encode(x), prior.encode(x)) and torch.equal(again.decode(z), prior.decode(z))


def test_networks_at_the_root_and_half_precision_files(tmp_path):
    pipeline = tiny.ddpm(tmp_path)
    pipeline.save_pretrained(tmp_path, variant="fp16")
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").unlink()
    z = latents(load_prior(tmp_path))
    before = load_prior(tmp_path).denoise(z, 300)
    for file in (tmp_path / "unet").iterdir():
        shutil.move(file, tmp_path / file.name)
    (tmp_path / "unet").rmdir()
    assert torch.equal(load_prior(tmp_path).denoise(z, 300), before)


@pytest.mark.parametrize("name", list(BUILD))
def test_bfloat16_inside_float32_outside(tmp_path, name):
    BUILD[name](tmp_path)
    full, half = load_prior(tmp_path), load_prior(tmp_path, dtype=torch.bfloat16)
    z, x = latents(full), images()
    assert next(half.denoiser.unet.parameters()).dtype == torch.bfloat16
    for a, b in (
        (full.denoise(z, 500), half.denoise(z, 500)),
        (full.encode(x), half.encode(x)),
        (full.decode(z), half.decode(z)),
    ):
        assert b.dtype == torch.float32
        assert (a - b).abs().median() < 0.05 * (1 + a.abs().median())


def test_any_size_where_the_network_takes_multiples(tmp_path):
    tiny.ldm_kl(tmp_path)
    prior = load_prior(tmp_path)
    z = torch.randn(1, 4, 18, 21)
    assert prior.denoise(z, 100).shape == z.shape
    z = torch.randn(1, 4, 20, 24)
    assert torch.allclose(prior.denoiser.predict(z, torch.tensor([5])), prior.denoiser.unet(z, 5).sample, atol=1e-5)


def test_batch_mates_do_not_matter(tmp_path):
    for name, build in BUILD.items():
        build(tmp_path / name)
        prior = load_prior(tmp_path / name)
        z = latents(prior, 3)
        assert torch.allclose(prior.denoise(z, 700)[1:2], prior.denoise(z[1:2], 700), atol=1e-4)


def test_prompt(tmp_path):
    pipeline = tiny.stable_diffusion(tmp_path)
    plain, cat = load_prior(tmp_path), load_prior(tmp_path, prompt="a cat")
    text, _ = pipeline.encode_prompt("a cat", "cpu", 1, do_classifier_free_guidance=False)
    assert torch.allclose(cat.denoiser.text, text, atol=1e-5)
    assert not torch.allclose(plain.denoiser.text, text, atol=1e-3)
    assert not any("text_encoder" in name for name, _ in cat.named_modules())


@pytest.mark.parametrize("name", list(LATENT))
def test_latentdem_runs_and_the_observation_matters(tmp_path, name):
    LATENT[name](tmp_path)
    prior, y = load_prior(tmp_path), images(2)
    results = [
        run(problem, latentdem_paper(problem, prior, l2, steps=4))
        for problem in (Deblurring.of(v, 0.02, 9, circular=True) for v in (y, 1 - y))
    ]
    for result in results:
        assert result.image.shape == y.shape and result.image.isfinite().all()
        assert torch.allclose(result.kernel.sum((-2, -1)), torch.ones(2, 1), atol=1e-4)
    assert not torch.allclose(results[0].image, results[1].image, atol=1e-4)
    z = latents(prior).requires_grad_()
    gradient = torch.autograd.grad((prior.decode(prior.denoise(z, 500)) - y).square().sum(), z)[0]
    assert gradient.isfinite().all() and (gradient.abs().amax((1, 2, 3)) > 0).all()


def test_guidance_runs_through_pixels(tmp_path):
    tiny.ddpm(tmp_path)
    problem = Deblurring.of(images(), 0.02, circular=True, kernel=delta(9, 1))
    result = run(problem, latentdem_paper(problem, load_prior(tmp_path), l2, steps=4))
    assert result.image.isfinite().all()


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedule(betas):
    theirs = DDIMScheduler(beta_schedule=betas)
    assert torch.allclose(schedule_of(theirs).abar.float(), theirs.alphas_cumprod, atol=1e-6)
    assert schedule_of(theirs).final == 1.0
    schedule = schedule_of(DDIMScheduler(beta_schedule=betas, set_alpha_to_one=False))
    assert schedule.final == schedule.at(0) == schedule.at(-1)


def test_schedule_with_zero_terminal_snr(tmp_path):
    for cls in (DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler):
        scheduler = tiny.scheduler("v_prediction", cls, rescale_betas_zero_snr=True)
        schedule = schedule_of(scheduler)
        assert schedule.at(999) == FLOOR < schedule.at(998)
        prior = latent_prior(tiny.kl(3), tiny.unet(4), scheduler, torch.float32)
        assert prior.denoise(latents(prior), 999).isfinite().all()


def refused(message: str, function, *args, error=ValueError, **kwargs) -> None:
    with pytest.raises(error, match=message) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)


def test_unknown_names():
    for name in ("photo", "./nothing", "a/b/c", "/nowhere/model.safetensors", "sd.ckpt", ""):
        refused("unknown prior", load_prior, name)


def test_shipped_prior_takes_no_prompt():
    refused("takes no text", load_prior, "photos", prompt="a cat")


def test_hub_ids(tmp_path, monkeypatch):
    import diffusers

    tiny.ldm_vq(tmp_path / "cache")
    asked = {}

    def download(name, **options):
        asked.update(name=name, **options)
        return str(tmp_path / "cache")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    assert load_prior("owner/name").channels == 3
    assert asked["name"] == "owner/name" and asked["local_files_only"] is False and asked["safety_checker"] is None

    def unreachable(name, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", unreachable)
    refused("hub cannot be reached: no route", load_prior, "owner/name", error=OSError)


def test_hub_id_that_was_never_downloaded(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    refused("cache of earlier downloads", load_prior, "nobody/never-downloaded", local_only=True, error=OSError)


def test_folders_that_are_not_priors(tmp_path):
    refused("model_index.json", load_prior, tmp_path)
    (tmp_path / "model_index.json").write_text("{not json")
    refused("not a pipeline index", load_prior, tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "X", "vae": ["diffusers", "AutoencoderKL"]}')
    refused("holds vae", load_prior, tmp_path)
    tiny.ddpm(tmp_path)
    refused("takes no text", load_prior, tmp_path, prompt="a cat")
    file = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    save_file({k: v.clone() for k, v in load_file(file).items() if k != "conv_out.weight"}, file)
    refused("incomplete: 1 tensors", load_prior, tmp_path)
    file.write_bytes(b"broken")
    refused("cannot load unet", load_prior, tmp_path)


def test_networks_that_are_not_priors():
    schedulers, net = tiny.scheduler(), tiny.unet(4)
    refused("9 channels", latent_prior, tiny.kl(3), tiny.unet(9), schedulers, torch.float32)
    refused("token indices", latent_prior, tiny.vq(lookup_from_codebook=True), tiny.unet(3), schedulers, torch.float32)
    refused("beta schedule", latent_prior, tiny.kl(3), net, FlowMatchEulerDiscreteScheduler(), torch.float32)
    conditional = UNet2DModel(**{**tiny.unet(3).config, "num_class_embeds": 10})
    refused("class-conditional", pixel_prior, conditional, schedulers, torch.float32)


def test_missing_transformers(tmp_path, monkeypatch):
    tiny.stable_diffusion(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(r"pip install 'blindinv\[sd\]'", load_prior, tmp_path, error=ImportError)


def test_conditional_network_without_text_encoder(tmp_path):
    tiny.stable_diffusion(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["text_encoder"] = [None, None]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    refused("text_encoder", load_prior, tmp_path)


def original(tmp_path):
    """A tiny pipeline of Stable Diffusion's own structure, and the file of its weights in the original layout."""
    pipeline = tiny.stable_diffusion(tmp_path / "folder")
    pipeline.register_modules(
        unet=UNet2DConditionModel(block_out_channels=(32, 32, 64, 64), cross_attention_dim=64, attention_head_dim=8),
        vae=tiny.kl(4, layers_per_block=2).from_config(
            {**tiny.kl(4, layers_per_block=2).config, "block_out_channels": (32,) * 4, "norm_num_groups": 32}
        ),
    )
    pipeline.save_pretrained(tmp_path / "folder")
    weights = tiny.original_layout(pipeline)
    weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["alphas_cumprod"] = torch.ones(1000)  # as the originals have, and nobody reads
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path / "folder", tmp_path / "model.safetensors"


def test_single_file_is_the_folder(tmp_path):
    folder, file = (load_prior(path) for path in original(tmp_path))
    z, x = latents(folder), images()
    assert torch.allclose(file.denoiser.text, folder.denoiser.text, atol=1e-5)
    assert torch.allclose(file.encode(x), folder.encode(x), atol=1e-5)
    assert torch.allclose(file.decode(z), folder.decode(z), atol=1e-5)
    assert torch.allclose(file.schedule.abar, folder.schedule.abar, rtol=1e-5)
    assert file.schedule.final == pytest.approx(folder.schedule.final) and file.schedule.final < 1
    for t in (0, 999):
        assert torch.allclose(file.denoise(z, t), folder.denoise(z, t), atol=1e-4, rtol=1e-3)
    refused("tokenizer", load_prior, tmp_path / "model.safetensors", prompt="a cat")
    weights = load_file(tmp_path / "model.safetensors")
    for name in ("model.diffusion_model.out.2.weight", "first_stage_model.quant_conv.bias", CLIP_NORM):
        save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "part.safetensors")
        refused("tensors are missing", load_prior, tmp_path / "part.safetensors")


def test_sizes_of_stable_diffusion_are_read_from_the_shapes():
    """The configs that lie beside the weights of version 1.5."""
    widths = (320, 640, 1280, 1280)
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
    shapes = {"model.diffusion_model." + tiny.original_unet(k): list(v.shape) for k, v in unet.state_dict().items()}
    shapes |= {"first_stage_model." + tiny.original_vae(k): list(v.shape) for k, v in vae.state_dict().items()}
    text = "cond_stage_model.transformer.text_model."
    shapes |= {text + "embeddings.token_embedding.weight": [49408, 768], text + "embeddings.position_embedding.weight": [77, 768]}
    shapes |= {f"{text}encoder.layers.{i}.mlp.fc1.weight": [3072, 768] for i in range(12)}
    configs = configs_of(shapes)
    with torch.device("meta"):
        for cls, name, model in ((UNet2DConditionModel, "unet", unet), (AutoencoderKL, "vae", vae)):
            ours = cls.from_config(configs[name]).state_dict()
            assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert cls.from_config(configs["vae"]).config.scaling_factor == 0.18215
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    assert [configs["text_encoder"][k] for k in sizes] == [768, 3072, 12, 12, 77]


def test_single_files_that_are_refused(tmp_path, monkeypatch):
    for suffix in (".ckpt", ".pt", ".bin"):
        (tmp_path / f"model{suffix}").write_bytes(b"")
        refused("is a pickle", load_prior, tmp_path / f"model{suffix}")
    (tmp_path / "model.txt").write_text("")
    refused("not a .safetensors", load_prior, tmp_path / "model.txt")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    refused("not a safetensors file", load_prior, tmp_path / "broken.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    refused("not Stable Diffusion 1.x", load_prior, tmp_path / "other.safetensors")


def test_importing_the_zoo_is_quick():
    """Neither diffusers nor transformers is imported before a prior is asked for."""
    import subprocess

    code = "import sys, blindinv.zoo; sys.exit('diffusers' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
