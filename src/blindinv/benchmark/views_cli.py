"""The command `blindinv bench views`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from blindinv.benchmark.options import Device, Method, Out, Redo, Seed, one_line_errors

if TYPE_CHECKING:
    from blindinv.benchmark.records import Record


def views(
    prior: Annotated[str, typer.Option(metavar="NAME|PATH|HUB", help="View prior.")] = "objects",
    method: Method = None,
    family: Annotated[str, typer.Option(metavar="blocks|tilted", help="Objects; tilted is none that was trained on.")] = "blocks",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Objects.")] = 100,
    first: Annotated[int, typer.Option(metavar="N", min=0, help="The first of them; to share the work.")] = 0,
    out: Out = None,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Steps of the reverse diffusion.")] = 50,
    guidance: Annotated[float | None, typer.Option(metavar="W", min=1, help="Default: the prior's own.")] = None,
    device: Device = "auto",
    redo: Redo = False,
) -> None:
    """Novel views and poses of held-out objects from 1, 2 and 3 pictures without poses (LatentDEM, section 4.3).

    The elevation of the first picture is given. A run that was stopped goes on where it was.
    """
    with one_line_errors():
        from pathlib import Path

        from blindinv.benchmark.bench import benches
        from blindinv.benchmark.options import show
        from blindinv.benchmark.views_rows import ViewContext
        from blindinv.benchmark.views_run import ViewPlan, chosen_family, chosen_rows, run_views
        from blindinv.photo.settings import parse_device
        from blindinv.zoo.views import load_view_prior

        where, rows, objects = parse_device(device), chosen_rows(method or ()), chosen_family(family)
        model = load_view_prior(prior, device=where)
        context = ViewContext(model, model.guidance if guidance is None else guidance, steps, seed=seed)
        plan = ViewPlan(context, rows, prior, out or Path("runs/views.jsonl"), limit, first, objects, where, redo)
        with counting(len(plan.rows) * plan.limit) as advance:
            records = [advance(record) for record in run_views(plan)]
        show(benches()["views"], plan.out, records)


@contextmanager
def counting(total: int) -> "Iterator[Callable[[Record], Record]]":
    """A bar of so many records on stderr; yields what to call with each of them."""
    from blindinv.photo.bars import bars

    with bars() as bar:
        task = bar.add_task("objects", total=total)

        def advance(record: "Record") -> "Record":
            bar.update(task, advance=1, description=f"{record.image} ({record.method})")
            return record

        yield advance
