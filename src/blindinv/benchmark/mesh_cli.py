"""The command `blindinv bench mesh`."""

from pathlib import Path
from typing import Annotated

import typer

from blindinv.benchmark.options import Device, Out, Redo, Seed, one_line_errors

Meshes = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of meshes to add (OBJ, PLY, GLB, STL, OFF; y up).")]


def mesh(
    meshes: Meshes = None,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Procedural objects.")] = 8,
    views_in: Annotated[str, typer.Option("--views-in", metavar="1,2,3", help="Numbers of pictures; none: true views only.")] = (
        "1,2,3"
    ),
    prior: Annotated[str, typer.Option(metavar="NAME|PATH|HUB", help="View prior.")] = "objects",
    views: Annotated[int, typer.Option(metavar="N", min=3, help="Novel views that a mesh is made from.")] = 16,
    steps: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Steps of the reverse diffusion.")] = 50,
    guidance: Annotated[float | None, typer.Option(metavar="W", min=1, help="Default: the prior's own.")] = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    redo: Redo = False,
) -> None:
    """Meshes of objects from 1, 2 and 3 pictures without poses, and from true views: Chamfer, F@0.02, IoU (LatentDEM, figure 9).

    The elevation of the first picture is given. A run that was stopped goes on where it was.
    """
    with one_line_errors():
        from blindinv.benchmark.bench import benches
        from blindinv.benchmark.mesh_cases import solids
        from blindinv.benchmark.mesh_rows import MeshContext, mesh_rows
        from blindinv.benchmark.mesh_run import MeshPlan, chosen_counts, run_mesh
        from blindinv.benchmark.options import show
        from blindinv.benchmark.views_cli import counting
        from blindinv.benchmark.views_rows import ViewContext
        from blindinv.photo.settings import parse_device
        from blindinv.zoo.views import load_view_prior

        where, counts, context = parse_device(device), chosen_counts(views_in), None
        if counts:
            model = load_view_prior(prior, device=where)
            context = ViewContext(model, model.guidance if guidance is None else guidance, steps, seed=seed)
        plan = MeshPlan(
            MeshContext(context, views, where, seed),
            mesh_rows(counts),
            prior,
            out or Path("runs/mesh.jsonl"),
            solids(limit, meshes),
            redo=redo,
        )
        with counting(len(plan.rows) * len(plan.objects)) as advance:
            records = [advance(record) for record in run_mesh(plan)]
        show(benches()["mesh"], plan.out, records)
