"""Run the rows of `blindinv bench views` on objects, storing what is done and passing over what is stored."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from blindinv.benchmark.records import Record, append, key, read, versions
from blindinv.benchmark.rows import describe
from blindinv.benchmark.views_cases import FAR, TARGETS, ViewCase, pose_errors, score_views, view_case
from blindinv.benchmark.views_rows import ROWS, Answer, ViewContext, ViewRow, gap_name
from blindinv.hashing import tensor_hash
from blindinv.photo.pictures import picture
from blindinv.views.objects import Family

TASK = "views"
SHOWN = 4
"""Objects of which pictures are stored, for the figure, ..."""
DRAWN = ("nearest-input", "one-view", "two-views", "three-views", "three-known")
"""... of these rows."""


@dataclass(frozen=True)
class ViewPlan:
    """What is to be run.

    Args:
        context: prior and settings.
        rows: by name, in the order of the table.
        prior_name: for the records.
        out: file of records.
        limit: objects.
        first: of them, from 0.
        family: of the objects.
        device: of the prior.
        redo: run also what is stored.
    """

    context: ViewContext
    rows: Mapping[str, ViewRow]
    prior_name: str
    out: Path
    limit: int = 100
    first: int = 0
    family: Family = "blocks"
    device: str = "cpu"
    redo: bool = False

    def label(self, name: str) -> str:
        """What a row is called in the records."""
        return name if self.family == "blocks" else f"{name}, {self.family}"

    def config(self, name: str) -> dict[str, Any]:
        """The resolved settings of a row."""
        c = self.context
        task = {"family": self.family, "size": c.prior.size, "targets": TARGETS, "far": FAR, "device": self.device}
        own: dict[str, Any] = {"settings": describe(self.rows[name])}
        if name == "nearest-input":
            return task | own
        own["search"] = describe(c.search) if "found_poses" in own["settings"].values() else {}
        return task | own | {"prior": self.prior_name, "guidance": c.guidance, "diffusion_steps": c.steps}


def prior_hash(prior: object) -> str:
    """SHA-256 of a prior's tensors; of its name where it has none of its own."""
    if isinstance(prior, nn.Module):
        return tensor_hash(prior)
    return hashlib.sha256(type(prior).__qualname__.encode()).hexdigest()


def run_views(plan: ViewPlan, case_of: Callable[[int], ViewCase] | None = None) -> Iterator[Record]:
    """All rows on all objects, object by object; yields the records in order, stored ones as they are.

    Args:
        plan: what is to be run.
        case_of: index -> object; None: those of the plan's family.
    """
    stored = {} if plan.redo else read(plan.out)
    weights, seed = prior_hash(plan.context.prior), plan.context.seed
    for index in range(plan.first, plan.first + plan.limit):
        case = case_of(index) if case_of else view_case(index, plan.family, plan.context.prior.size, seed)
        for name, row in plan.rows.items():
            hashes = {"image": case.sha256} | ({} if name == "nearest-input" else {"prior": weights})
            known = stored.get(key(TASK, plan.label(name), case.name, seed, plan.config(name), hashes))
            if known is None:
                known = _measured(plan, name, row, case, hashes)
                append(plan.out, [known])
            yield known


def _measured(plan: ViewPlan, name: str, row: ViewRow, case: ViewCase, hashes: dict[str, str]) -> Record:
    answer = row(case.to(plan.device), plan.context)
    figures, curves = score_views(case, answer.novel)
    found, more = _poses(case, answer)
    shown = _pictures(name, case, answer) if case.index < SHOWN and plan.label(name) in DRAWN else {}
    config, seed = plan.config(name), plan.context.seed
    figures, curves = figures | found, curves | more
    return Record(
        TASK,
        plan.label(name),
        case.name,
        seed,
        config,
        hashes,
        versions(),
        figures,
        answer.clock.wall,
        answer.clock.cpu,
        curves,
        shown,
    )


def _poses(case: ViewCase, answer: Answer) -> tuple[dict[str, float], dict[str, list[float]]]:
    """How far off the poses are, after EM and where it started: means over the pictures, and one number for each."""
    low, high = map(float, gap_name(case).split("-"))
    figures, curves = {"gap_low": low, "gap_high": high}, dict[str, list[float]]()
    for name, poses in (("pose_error", answer.poses), ("found_error", answer.found)):
        if poses is not None:
            errors = pose_errors(case, poses.cpu().float())
            figures[name] = float(errors.mean())
            curves[name] = errors.tolist()
    if answer.poses is not None:
        off = (answer.poses.cpu() - case.poses[: len(answer.poses)])[:, 2].abs()
        figures["radius_error"] = float(off.mean())
    return figures, curves


def _pictures(name: str, case: ViewCase, answer: Answer) -> dict[str, str]:
    """Strips of pictures, PNG in base64: the views, and with the first row also inputs and truth; by distance to picture 1."""
    order = case.distance.argsort()
    strips = {"found": strip(answer.novel[order])}
    if name == DRAWN[0]:
        strips = {"inputs": strip(case.inputs), "true": strip(case.targets[order, :3])}
    return strips


def strip(pictures: Tensor) -> str:
    """Pictures (N, 3, S, S) side by side, in 128 colours."""
    row = torch.cat(list(pictures.clamp(0, 1)), -1)
    buffer = io.BytesIO()
    picture(row[None]).quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def chosen_rows(names: Sequence[str]) -> dict[str, ViewRow]:
    """The rows of these names; all where there are none.

    Raises:
        ValueError: there is no such row.
    """
    for name in names:
        if name not in ROWS:
            raise ValueError(f"--method {name}: there is no such row; give one of {', '.join(ROWS)}")
    return {name: ROWS[name] for name in dict.fromkeys(names or ROWS)}


def chosen_family(name: str) -> Family:
    """The family of this name.

    Raises:
        ValueError: there is none.
    """
    families: dict[str, Family] = {"blocks": "blocks", "tilted": "tilted"}
    if name not in families:
        raise ValueError(f"--family {name}: give one of {', '.join(families)}")
    return families[name]
