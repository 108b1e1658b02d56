"""From pictures of one object to novel views and cameras in a folder."""

import hashlib
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindinv.hashing import tensor_hash
from blindinv.photo.errors import PhotoError, first_line
from blindinv.photo.read import read_photo
from blindinv.photo.report import PACKAGES, device_name, peak_memory
from blindinv.photo.views_pictures import degrees, rgba_picture, sheet, write_turntable
from blindinv.photo.views_settings import ViewsSettings
from blindinv.precision import precisions
from blindinv.priors.view import ViewPrior
from blindinv.views.camera import Camera, transforms
from blindinv.views.heights import USUAL
from blindinv.views.inputs import FILL, Object, as_it_is, cut_out, framed, on_white, well_framed
from blindinv.views.reconstruct import Stage, ViewsResult, reconstruct
from blindinv.views.search import Hypotheses, Search
from blindinv.zoo.views import load_view_prior

FILES = frozenset({"poses.json", "views.png", "turntable.gif", "report.json", "inputs", "views"})
SINGLE = "one picture only: this is the prior's single-view generation, and there is no pose to find"


@dataclass(frozen=True, eq=False)
class ViewsJob:
    """Pictures of one object that can be worked on.

    Attributes:
        paths: of the files.
        sha256: of the files.
        sizes: height and width of the files' pictures.
        objects: one for each file.
        fit: whether the objects are moved and scaled to fit; otherwise they are where the prior expects them.
    """

    paths: tuple[Path, ...]
    sha256: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    objects: tuple[Object, ...]
    fit: bool

    def rgba(self, size: int, fill: float = FILL) -> Tensor:
        """(n, 4, size, size), not premultiplied."""
        return torch.cat([framed(o.rgba, size, self.fit, fill) for o in self.objects])


def prepare_views(paths: Sequence[Path], settings: ViewsSettings) -> ViewsJob:
    """Read the pictures and find the object in each. Their sizes may differ.

    Raises:
        PhotoError: a picture that cannot be used, or poses that do not go with the pictures.
    """
    if not paths:
        raise PhotoError("no picture is given; give one or more of the same object, two or three are best")
    if settings.poses and len(settings.poses) != len(paths):
        raise PhotoError(f"--pose is given {len(settings.poses)} times and there are {len(paths)} pictures; give one for each")
    sizes, objects = zip(*(_object(path, settings.as_is) for path in paths), strict=True)
    fit = not settings.as_is and not all(well_framed(o.rgba) for o in objects)
    hashes = tuple(hashlib.sha256(p.read_bytes()).hexdigest() for p in paths)
    return ViewsJob(tuple(paths), hashes, sizes, objects, fit)


def _object(path: Path, as_is: bool) -> tuple[tuple[int, int], Object]:
    photo = read_photo(path)
    height, width = photo.pixels.shape[-2:]
    try:
        return (height, width), (as_it_is if as_is else cut_out)(photo.pixels, photo.alpha)
    except ValueError as error:
        raise PhotoError(f"{path}: {first_line(error)}") from error


def read_objects(paths: Sequence[Path | str], prior: ViewPrior) -> Tensor:
    """Pictures of one object as `reconstruct` takes them, (n, 4, S, S): cut out and framed as the prior knows objects.

    Args:
        paths: of files, RGBA or with a plain background; of any sizes.
        prior: of views.

    Raises:
        PhotoError: a picture that cannot be used.
    """
    return prepare_views([Path(p) for p in paths], ViewsSettings()).rgba(prior.size, fill_of(prior))


def fill_of(prior: ViewPrior) -> float:
    """Share of a picture's width that the circle round the object should take."""
    return getattr(prior, "fill", FILL)


def view_prior_for(settings: ViewsSettings) -> ViewPrior:
    """The prior, on its device.

    Raises:
        PhotoError: it is unknown, or an extra is missing.
    """
    kind = torch.float16 if settings.half else None
    try:
        return load_view_prior(settings.prior, device=settings.device, dtype=kind)
    except (ValueError, ImportError, OSError) as error:
        raise PhotoError(first_line(error)) from error


def find_views(
    job: ViewsJob, settings: ViewsSettings, prior: ViewPrior, record: Callable[[Stage], Any] | None = None
) -> tuple[ViewsResult, Tensor]:
    """Novel views and cameras, and the pictures (n, 4, S, S) that they were made from.

    Raises:
        PhotoError: the prior cannot be used this way.
    """
    rgba, cameras = job.rgba(prior.size, fill_of(prior)), settings.cameras()
    try:
        found = reconstruct(
            rgba.to(settings.device),
            prior=prior,
            elevation=settings.elevation,
            cameras=cameras,
            targets=settings.targets,
            search=Search(steps=settings.search_steps),
            steps=settings.steps,
            guidance=settings.guidance,
            below=settings.refine,
            two_chains=settings.two_chains,
            chunk=settings.chunk,
            seed=settings.seed,
            record=record,
        )
    except ValueError as error:
        raise PhotoError(first_line(error)) from error
    return found, rgba


def views_report(
    job: ViewsJob, settings: ViewsSettings, prior: ViewPrior, found: ViewsResult, seconds: dict[str, float]
) -> dict[str, Any]:
    """Everything that is needed to do it again, and what was found; only seconds and memory differ between equal runs."""
    return {
        "pictures": [
            {"file": str(p), "sha256": s, "height": h, "width": w, "alpha_from": o.source}
            for p, s, (h, w), o in zip(job.paths, job.sha256, job.sizes, job.objects, strict=True)
        ],
        "recentred": job.fit,
        "parameters": asdict(settings),
        "elevation": degrees(found.inputs)["elevation"],
        "elevation_from": elevation_from(settings, found),
        "elevation_search": None if found.elevation is None else asdict(found.elevation),
        "size": prior.size,
        "guidance": prior.guidance if settings.guidance is None else settings.guidance,
        "cameras": [degrees(found.inputs[i : i + 1]) for i in range(len(found.inputs))],
        "margins": [_finite(h.margin) for h in found.hypotheses],
        "warnings": [f"{job.paths[i].name}: {line}" for i, line in found.warnings],
        "note": SINGLE if len(job.paths) == 1 else None,
        "weights_sha256": tensor_hash(prior) if isinstance(prior, nn.Module) else None,
        "licence": getattr(prior, "licence", None),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": device_name(settings.device),
        "precision": precisions({"prior": prior}, settings.device),
        "threads": torch.get_num_threads(),
        "seconds": round(sum(seconds.values()), 3),
        "seconds_of": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_mib": peak_memory(settings.device),
    }


def elevation_from(settings: ViewsSettings, found: ViewsResult) -> str:
    """Where the elevation of the first camera is from."""
    if settings.poses:
        return "--pose"
    if settings.elevation is not None:
        return "--elevation"
    return "assumed" if found.elevation is None or round(found.elevation.degrees, 3) == USUAL else "estimated"


def write_views(folder: Path, job: ViewsJob, found: ViewsResult, rgba: Tensor, turntable: Tensor, mesh: bool = False) -> None:
    """poses.json, views.png, turntable.gif, and the pictures that the poses belong to.

    Args:
        folder: exists.
        job: what the views were made from.
        found: views and cameras.
        rgba: (n, 4, S, S) pictures as the prior saw them.
        turntable: (F, 3, S, S) frames.
        mesh: whether they show a mesh; then views.png shows some of them too.
    """
    names = [f"inputs/{i + 1}.png" for i in range(len(rgba))]
    names += [f"views/{i + 1:02d}.png" for i in range(len(found.views))]
    for name in ("inputs", "views"):
        (folder / name).mkdir()
    opaque = torch.ones_like(found.views[:, :1])
    for name, x in zip(names, [*rgba, *torch.cat([found.views, opaque], 1).cpu()], strict=True):
        image = rgba_picture(x[None])
        (image if name.startswith("inputs") else image.convert("RGB")).save(folder / name)
    titles = [f"{p.name}: azimuth {degrees(found.inputs[i : i + 1])['azimuth']:.0f}" for i, p in enumerate(job.paths)]
    page = sheet(on_white(rgba), titles, found.views, found.camera, turntable if mesh else None)
    page.save(folder / "views.png")
    write_turntable(folder / "turntable.gif", turntable)
    (folder / "poses.json").write_text(json.dumps(poses(job, found, names), indent=2) + "\n")


def poses(job: ViewsJob, found: ViewsResult, names: list[str]) -> dict[str, Any]:
    """What poses.json holds: NeRF's transforms.json, with each pose in degrees and the hypotheses of each picture."""
    every = Camera.of(torch.cat([found.inputs.pose, found.camera.pose]).double().cpu(), found.camera.fov)
    content = transforms(every, names, found.views.shape[-1])
    for i, frame in enumerate(content["frames"]):
        frame |= {"kind": "picture" if i < len(job.paths) else "novel view", "pose": degrees(every[i : i + 1])}
        if i < len(job.paths):
            frame["source"] = str(job.paths[i])
            frame["search"] = _ranking(found.hypotheses[i - 1], found.inputs) if i and found.hypotheses else None
    return content


def _ranking(found: Hypotheses, inputs: Camera) -> dict[str, Any]:
    first = Camera.of(inputs.pose[:1].cpu())
    ranked = [
        {"loss": float(loss), "pose": degrees(first.moved(pose))}
        for pose, loss in zip(found.poses.cpu(), found.losses.cpu(), strict=True)
    ]
    return {
        "hypotheses": ranked,
        "loss_of_a_wrong_pose": found.typical,
        "margin": _finite(found.margin),
        "warning": found.warning(),
    }


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


class Clock:
    """Seconds of the parts of a run."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._since = time.monotonic()

    def done(self, name: str) -> None:
        """What was done since the last call."""
        now = time.monotonic()
        self.parts[name], self._since = now - self._since, now
