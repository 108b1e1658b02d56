"""Run the rows of `blindinv bench mesh` on objects, storing what is done and passing over what is stored."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from blindinv.benchmark.mesh_cases import FILES, POINTS, Solid, score_mesh
from blindinv.benchmark.mesh_rows import COUNTS, FromPictures, Made, MeshContext, MeshRow
from blindinv.benchmark.records import Record, append, key, read, versions
from blindinv.benchmark.rows import describe
from blindinv.benchmark.views_cases import pose_errors
from blindinv.benchmark.views_run import prior_hash, strip
from blindinv.views.camera import Camera
from blindinv.views.mesh import Mesh
from blindinv.views.render import on_white, render

TASK = "mesh"
SHOWN = 96
"""Pixels of the pictures of meshes."""
EYES = Camera.degrees([20.0, -15.0, 50.0], [30.0, 150.0, 270.0])
"""Where they are taken from."""


@dataclass(frozen=True)
class MeshPlan:
    """What is to be run.

    Args:
        context: prior and settings.
        rows: by name, in the order of the table.
        prior_name: for the records.
        out: file of records.
        objects: in order.
        pictured: objects of either kind of which pictures are stored.
        redo: run also what is stored.
    """

    context: MeshContext
    rows: Mapping[str, MeshRow]
    prior_name: str
    out: Path
    objects: Sequence[Solid]
    pictured: int = 4
    redo: bool = False

    def config(self, row: MeshRow) -> dict[str, Any]:
        """The resolved settings of a row."""
        config = {"points": POINTS, "device": self.context.device, "settings": describe(row)}
        views = self.context.views
        if not isinstance(row, FromPictures) or views is None:
            return config
        config |= {"views": self.context.count, "size": views.prior.size, "prior": self.prior_name}
        return config | {"search": describe(views.search), "guidance": views.guidance, "diffusion_steps": views.steps}


def run_mesh(plan: MeshPlan) -> Iterator[Record]:
    """All rows on all objects, object by object; yields the records in order, stored ones as they are."""
    stored, views = {} if plan.redo else read(plan.out), plan.context.views
    weights = {} if views is None else {"prior": prior_hash(views.prior)}
    for solid in plan.objects:
        for name, row in plan.rows.items():
            hashes = {"image": shape_hash(solid)} | (weights if isinstance(row, FromPictures) else {})
            known = stored.get(key(TASK, name, solid.name, plan.context.seed, plan.config(row), hashes))
            if known is None:
                known = _measured(plan, name, row, solid, hashes)
                append(plan.out, [known])
            yield known


def shape_hash(solid: Solid) -> str:
    """SHA-256 of the corners of an object, to 1e-4, and of its number."""
    corners = (solid.triangles.corners * 1e4).round().astype("<i4").tobytes()
    return hashlib.sha256(corners + str(solid.index).encode()).hexdigest()


def _measured(plan: MeshPlan, name: str, row: MeshRow, solid: Solid, hashes: dict[str, str]) -> Record:
    made = row(solid, plan.context)
    figures = score_mesh(made.mesh, solid) | {"fit_seconds": made.fit.wall, "fit_cpu_seconds": made.fit.cpu}
    figures |= _facts(made, solid, plan.context)
    shown = _pictures(made.mesh, solid, plan.context, name == next(iter(plan.rows))) if _pictured(plan, solid) else {}
    clock = made.clock
    config, seed = plan.config(row), plan.context.seed
    return Record(TASK, name, solid.name, seed, config, hashes, versions(), figures, clock.wall, clock.cpu, {}, shown)


def _facts(made: Made, solid: Solid, context: MeshContext) -> dict[str, float]:
    """Size of the mesh, and the error of the poses in degrees where they were estimated."""
    facts = {} if made.mesh is None else {"faces": float(len(made.mesh.faces))}
    if made.poses is not None:
        facts["pose_error"] = float(pose_errors(context.case(solid), made.poses.cpu().float()).mean())
    return facts


def _pictured(plan: MeshPlan, solid: Solid) -> bool:
    return solid.index % FILES < plan.pictured


def _pictures(mesh: Mesh | None, solid: Solid, context: MeshContext, first: bool) -> dict[str, str]:
    """Strips of pictures, PNG in base64: the mesh, and with the first row also inputs and truth."""
    shown = {} if mesh is None else {"found": strip(portraits(mesh))}
    if first:
        shown["true"] = strip(on_white(render(solid.triangles, EYES, SHOWN)))
        shown["inputs"] = strip(context.case(solid).inputs)
    return shown


def portraits(mesh: Mesh, size: int = SHOWN) -> Tensor:
    """(3, 3, size, size): a mesh from the sides of `EYES`. Its colours hold the light already; more of it shows the shape."""
    return on_white(render(mesh.trimesh(), EYES, size))


def chosen_counts(text: str) -> tuple[int, ...]:
    """Numbers of pictures from "1,2,3"; "none" are none.

    Raises:
        ValueError: something else.
    """
    parts = [] if text.strip().lower() == "none" else [p.strip() for p in text.split(",")]
    if not all(p.isdigit() and int(p) in COUNTS for p in parts):
        raise ValueError(f"--views-in {text}: give some of {', '.join(map(str, COUNTS))}, or none")
    return tuple(int(p) for p in np.unique([int(p) for p in parts]))
