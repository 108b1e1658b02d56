"""Zero123, Zero123-XL and Stable Zero123 as view priors, loaded component by component.

Their repositories name pipeline classes that diffusers does not have, so `DiffusionPipeline.from_pretrained` fails on them
with every recent version. Only the parts are read here:

    vae, unet, scheduler      AutoencoderKL, UNet2DConditionModel (8 channels in, 4 out), DDIMScheduler
    image_encoder             CLIPVisionModelWithProjection
    cc_projection             one linear layer, keys projection.weight and projection.bias (kxic/*), or
    clip_camera_projection    the same, keys proj.weight and proj.bias (ashawkey/*, bennyguo/*)

One original checkpoint holds all of them; see `zero123_file`. The licences of the weights differ: those of Stable Zero123 are
not for commercial use.
"""

import re
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindinv.priors.view import Condition
from blindinv.schedule import Schedule
from blindinv.zoo.adapters import KLAutoencoder, frozen, precision, schedule_of
from blindinv.zoo.diffusers_ import components, first_line, load_part, only_half, prediction, quiet
from blindinv.zoo.load import HUB

NEED_SD = "Zero123 sees its input through CLIP and needs transformers: pip install 'blindinv[sd]'"
PROJECTIONS = {"cc_projection": "projection", "clip_camera_projection": "proj"}
"""Folder of the projection, and what its tensors are called in it."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Zero123(nn.Module):
    """The view prior of Liu et al., "Zero-1-to-3: Zero-shot one image to 3D object", ICCV 2023 (a `ViewPrior`).

    The input picture acts twice: its latents, without the scaling factor, beside z_t; and its CLIP embedding with the
    pose, (d_polar, sin d_azimuth, cos d_azimuth, d_radius) in radians, as the one token of cross-attention. Stable
    Zero123 takes the absolute polar angle of the input's camera in place of d_radius. Networks run in their own
    precision, everything else in that of z_t.

    Args:
        vae: AutoencoderKL.
        unet: UNet2DConditionModel that predicts the noise.
        clip: CLIPVisionModelWithProjection.
        projection: (embedding and pose) -> token.
        schedule: noise schedule.
        stable: the pose is coded as in Stable Zero123.
        antialias: how pictures are resized for CLIP: like Pillow (repositories with clip_camera_projection), or without
            smoothing and with aligned corners (the original code, and repositories with cc_projection).
        licence: of the weights, as the repository states it.

    Raises:
        ValueError: parts that do not belong together.
    """

    fill = 0.8
    """Share of a picture's width that the circle round the object should take. Of things that fill the unit cube, seen from
    the middle of 1.5 to 2.2, a ball takes 0.61 and a cube up to 1.1."""

    def __init__(
        self,
        vae: Any,
        unet: Any,
        clip: Any,
        projection: nn.Linear,
        schedule: Schedule,
        stable: bool = False,
        antialias: bool = False,
        licence: str | None = None,
    ) -> None:
        super().__init__()
        _fit(vae, unet, clip, projection)
        self.scale, self.channels = float(vae.config.scaling_factor), vae.config.latent_channels
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.vae, self.unet, self.clip, self.projection = KLAutoencoder(vae), unet, clip, projection
        self.schedule, self.stable, self.antialias, self.licence = schedule, stable, antialias, licence
        self.size, self.guidance = self.factor * int(unet.config.sample_size or 32), 3.0

    def shape(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for images (N, 3, H, W)."""
        return (image[0], self.channels, image[2] // self.factor, image[3] // self.factor)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> z."""
        return self.scale * self.vae.encode(2 * x - 1)

    def decode(self, z: Tensor) -> Tensor:
        """z -> images, about [0, 1], not clipped."""
        return 0.5 + 0.5 * self.vae.decode(z / self.scale)

    @torch.no_grad()
    def condition(self, image: Tensor, polar: Tensor) -> Condition:
        """Latents (not scaled) and CLIP embeddings of images (N, 3, H, W) in [0, 1] on white."""
        embedding = self.clip(self.preprocess(image).to(precision(self.clip))).image_embeds
        return Condition({"latents": self.vae.encode(2 * image - 1), "embedding": embedding.to(image.dtype)}, polar)

    def preprocess(self, image: Tensor) -> Tensor:
        """Images in [0, 1] at CLIP's size and scale."""
        size, corners = self.clip.config.image_size, None if self.antialias else True
        small = F.interpolate(image, (size, size), mode="bicubic", align_corners=corners, antialias=self.antialias)
        mean, std = (image.new_tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        return (small - mean) / std

    def token(self, cond: Condition, pose: Tensor) -> Tensor:
        """(N, 1, D): what cross-attention sees; differentiable in the pose (N, 3) and in cond.polar."""
        last = cond.polar if self.stable else pose[:, 2]
        code = torch.stack([pose[:, 0], pose[:, 1].sin(), pose[:, 1].cos(), last], -1)
        embedding = torch.cat([cond.features["embedding"], code.to(cond.features["embedding"])], -1)
        return self.projection(embedding.to(self.projection.weight.dtype))[:, None]

    def eps(self, z: Tensor, t: int, cond: Condition, pose: Tensor, guidance: float = 1.0) -> Tensor:
        """The noise in z (N, C, h, w): unconditional + guidance (conditional - unconditional).

        Without a condition, the latents and the token are zeros.
        """
        latents, token = cond.features["latents"].to(z), self.token(cond, pose)
        if guidance == 1:
            return self._network(z, t, latents, token)
        nothing = (torch.zeros_like(latents), torch.zeros_like(token))
        both = (torch.cat([a, b]) for a, b in zip(nothing, (latents, token), strict=True))
        without, given = self._network(torch.cat([z, z]), t, *both).chunk(2)
        return without + guidance * (given - without)

    def _network(self, z: Tensor, t: int, latents: Tensor, token: Tensor) -> Tensor:
        kind = precision(self.unet)
        x = torch.cat([z, latents], 1).to(kind).contiguous(memory_format=torch.channels_last)
        times = torch.full((len(z),), t, device=z.device)
        return self.unet(x, times, encoder_hidden_states=token.to(kind)).sample.to(z.dtype)


def _fit(vae: Any, unet: Any, clip: Any, projection: nn.Linear) -> None:
    channels, wide = vae.config.latent_channels, clip.config.projection_dim
    if (unet.config.in_channels, unet.config.out_channels) != (2 * channels, channels):
        raise ValueError(
            f"the unet maps {unet.config.in_channels} channels to {unet.config.out_channels}; Zero123's maps {2 * channels} "
            f"(z_t and the picture) to {channels}"
        )
    if (projection.in_features, projection.out_features) != (wide + 4, unet.config.cross_attention_dim):
        raise ValueError(
            f"the projection maps {projection.in_features} numbers to {projection.out_features}; the image encoder and four "
            f"numbers of pose make {wide + 4}, and the unet wants {unet.config.cross_attention_dim}"
        )


def load_zero123(
    name: str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    stable: bool | None = None,
    local_only: bool = False,
) -> Zero123:
    """Zero123, Zero123-XL or Stable Zero123.

    Example: `load_zero123("bennyguo/zero123-xl-diffusers", device="cuda", dtype=torch.float16)`.

    Args:
        name: a folder with model_index.json and one folder per component, an original checkpoint as .safetensors, or a
            hub id "owner/name". Only the last uses the network.
        device: of the networks.
        dtype: of the networks; pictures, latents and poses outside them are float32.
        stable: the pose is coded as in Stable Zero123; nothing in the files says so. None: if the name has "stable" in it.
        local_only: take a hub id from the cache of earlier downloads, without the network.

    Raises:
        ValueError: neither, or files that are not Zero123.
        OSError: a hub id that cannot be fetched.
        ImportError: transformers is missing (`pip install 'blindinv[sd]'`).
    """
    from blindinv.zoo.zero123_file import load_zero123_file

    text, path = str(name), Path(name).expanduser()
    coded = "stable" in (text if HUB.fullmatch(text) else path.name).lower() if stable is None else stable
    if path.is_file():
        return load_zero123_file(path, dtype, coded).to(device)
    if not (text and path.is_dir()) and not HUB.fullmatch(text):
        raise ValueError(
            f"unknown view prior '{text}': give 'objects', an existing .safetensors file of `blindinv train views` or Zero123, "
            "an existing folder with model_index.json, or a hub id like 'bennyguo/zero123-xl-diffusers'"
        )
    return load_zero123_folder(path if path.is_dir() else fetch_zero123(text, local_only), dtype, coded).to(device)


def load_zero123_folder(folder: Path, dtype: torch.dtype = torch.float32, stable: bool = False) -> Zero123:
    """From a folder in either of the two layouts.

    Raises:
        ValueError: parts are missing, broken, or do not belong together.
        ImportError: transformers is missing.
    """
    parts = components(folder)
    camera = [name for name in PROJECTIONS if (folder / name).is_dir()]
    needed = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel", "image_encoder": "CLIPVisionModelWithProjection"}
    wrong = [f"{name} ({kind})" for name, kind in needed.items() if parts.get(name) != kind]
    if wrong or len(camera) != 1 or "scheduler" not in parts:
        wrong += [] if len(camera) == 1 else ["cc_projection or clip_camera_projection"]
        wrong += [] if "scheduler" in parts else ["scheduler"]
        raise ValueError(f"{folder} is not Zero123: it has no {', '.join(wrong)}")
    scheduler = load_part(folder, "scheduler", parts)
    if prediction(scheduler) != "epsilon":
        raise ValueError(f"{folder} predicts {prediction(scheduler)}; Zero123 predicts the noise")
    return Zero123(
        frozen(load_part(folder, "vae", parts, dtype), dtype),
        frozen(load_part(folder, "unet", parts, dtype), dtype),
        load_clip(folder / "image_encoder", dtype),
        load_projection(folder / camera[0], PROJECTIONS[camera[0]]),
        schedule_of(scheduler),
        stable,
        camera[0] == "clip_camera_projection",
        licence_of(folder),
    ).eval()


def load_clip(where: Path, dtype: torch.dtype) -> Any:
    """The image encoder of a folder.

    Raises:
        ValueError: missing or broken files.
        ImportError: transformers is missing.
    """
    from safetensors import SafetensorError

    try:
        from transformers import CLIPVisionModelWithProjection
    except ImportError as error:
        raise ImportError(NEED_SD) from error
    options: dict[str, Any] = {"local_files_only": True, "output_loading_info": True, "dtype": dtype}
    options |= {"variant": "fp16"} if only_half(where) else {}
    try:
        with quiet():
            loaded: Any = CLIPVisionModelWithProjection.from_pretrained(where, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"cannot load the image encoder from {where}: {first_line(error)}") from error
    clip, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"the image encoder in {where} is incomplete: {len(missing)} tensors are missing, e.g. '{missing[0]}'")
    return clip.requires_grad_(False).eval()


def load_projection(where: Path, key: str) -> nn.Linear:
    """The linear layer of a folder, float32, of whatever sizes its tensors have. Pickles are only read as tensors.

    Args:
        where: folder with one weights file.
        key: what the layer is called in it.

    Raises:
        ValueError: no such file, or not this layer.
    """
    from safetensors.torch import load_file

    files = sorted(where.glob("*.safetensors")) or sorted(where.glob("*.bin"))
    if not files:
        raise ValueError(f"{where} holds no weights")
    file = min(files, key=lambda f: ".fp16." in f.name)
    try:
        safe = file.suffix == ".safetensors"
        tensors = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and pickle have errors of their own
        raise ValueError(f"cannot read {file}: {first_line(error)}") from error
    return linear(tensors, key, str(file))


def linear(tensors: Any, key: str, where: str) -> nn.Linear:
    """A linear layer from `key`.weight and `key`.bias, float32 and frozen.

    Raises:
        ValueError: they are not there or do not fit.
    """
    weight, bias = (tensors.get(f"{key}.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2 or tuple(bias.shape) != (len(weight),):
        raise ValueError(f"{where} has no linear layer '{key}'")
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer.requires_grad_(False)


def licence_of(folder: Path) -> str | None:
    """The licence that the head of a repository's README.md states."""
    card = folder / "README.md"
    head = card.read_text(errors="replace").split("---")[1:2] if card.is_file() else []
    found = re.search(r"^license:\s*(\S.*)$", head[0], re.MULTILINE) if head else None
    return found[1].strip() if found else None


def fetch_zero123(name: str, local_only: bool = False) -> Path:
    """The folder of a repository in the local cache, downloaded if need be: safetensors where there are any.

    Raises:
        OSError: not there, or not reachable.
    """
    from huggingface_hub import snapshot_download

    folders = ("vae", "unet", "image_encoder", "scheduler", *PROJECTIONS)
    texts = ["model_index.json", "README.md", *(f"{f}/*.json" for f in folders)]
    try:
        root = Path(snapshot_download(name, allow_patterns=[*texts, "*.safetensors"], local_files_only=local_only))
        networks = [f for f in folders if f != "scheduler" and (root / f).is_dir()]
        bare = [f"{f}/*.bin" for f in networks if not list((root / f).glob("*.safetensors"))]
        if bare and not local_only:
            snapshot_download(name, allow_patterns=bare)
    except Exception as error:  # the hub's client has many kinds
        where = "in the cache of earlier downloads" if local_only else "on the hub, or the hub cannot be reached"
        raise OSError(f"view prior '{name}' is neither a folder here nor {where}: {first_line(error)}") from error
    return root
