"""The commands `blindinv views` and `blindinv mesh`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindinv.photo.command import one_line_errors, quiet_decoders
from blindinv.photo.errors import PhotoError
from blindinv.photo.folder import check_target
from blindinv.photo.options import Device, Json, Seed, Threads

if TYPE_CHECKING:
    from blindinv.photo.views import ViewsJob
    from blindinv.photo.views_settings import ViewsSettings
    from blindinv.priors.view import ViewPrior

Pictures = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PICTURE...", readable=False, help="Of one object: RGBA, or with a plain background.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the results.")]
Prior = Annotated[str, typer.Option(metavar="NAME|PATH|HUB", help="View prior: the shipped one, a file of ours, or Zero123.")]
Elevation = Annotated[str, typer.Option(metavar="auto|DEG", help="Of the first camera over the object's height.")]
Pose = Annotated[
    list[str] | None,
    typer.Option(metavar="POLAR,AZIMUTH[,RADIUS]", help="Known pose in degrees, once for each picture in their order."),
]
Views = Annotated[int, typer.Option(metavar="N", help="Novel views.")]
NovelElevation = Annotated[
    str | None, typer.Option(metavar="DEG[,DEG...]", help="Of the novel views. Default: that of the first camera.")
]
Steps = Annotated[int, typer.Option(metavar="N", help="Steps of the reverse diffusion.")]
SearchSteps = Annotated[int, typer.Option(metavar="N", help="Steps of the search for each pose, before that.")]
Guidance = Annotated[float | None, typer.Option(metavar="X", help="Classifier-free guidance. Default: the prior's own.")]
Refine = Annotated[int, typer.Option(metavar="T", help="EM re-estimates poses below this timestep of 1000; 0: never.")]
TwoChains = Annotated[bool, typer.Option("--two-chains", help="Algorithm 2's form of the E-step instead of eq. 25's.")]
AsIs = Annotated[bool, typer.Option("--as-is", help="Pictures are square, the object in the middle, on white: change nothing.")]
Half = Annotated[bool, typer.Option("--half", help="Zero123 in float16 (CUDA): half the memory.")]
Chunk = Annotated[int, typer.Option(metavar="N", help="Evaluations of the prior at a time; fewer need less memory.")]
Formats = Annotated[list[str], typer.Option("--format", metavar="glb|obj|ply", help="Of the mesh; may be given several times.")]
Detail = Annotated[int | None, typer.Option(metavar="N", help="Nodes along a side of the finest grid. Default: 64.")]


def views(
    out: Out,
    pictures: Pictures = None,
    prior: Prior = "objects",
    elevation: Elevation = "auto",
    pose: Pose = None,
    views: Views = 16,
    novel_elevation: NovelElevation = None,
    steps: Steps = 50,
    search_steps: SearchSteps = 12,
    guidance: Guidance = None,
    refine: Refine = 0,
    two_chains: TwoChains = False,
    as_is: AsIs = False,
    half: Half = False,
    chunk: Chunk = 32,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Find the cameras of PICTUREs of one object, and its views from all around. Two or three pictures are best; one works too.

    Writes OUT/poses.json, views.png, turntable.gif, views/*.png, inputs/*.png and report.json.
    """
    with one_line_errors():
        from blindinv.photo.settings import parse_device, use_threads
        from blindinv.photo.views import FILES
        from blindinv.photo.views_progress import stages
        from blindinv.photo.views_run import make_views
        from blindinv.photo.views_settings import ViewsSettings, parse_elevation, parse_elevations, parse_pose

        use_threads(threads)
        settings = ViewsSettings(
            prior=prior,
            elevation=parse_elevation(elevation),
            poses=tuple(parse_pose(p) for p in pose or ()),
            views=views,
            novel_elevations=parse_elevations(novel_elevation),
            steps=steps,
            search_steps=search_steps,
            guidance=guidance,
            refine=refine,
            two_chains=two_chains,
            as_is=as_is,
            half=half,
            chunk=chunk,
            seed=seed,
            device=parse_device(device),
        )
        job, network = _checked(pictures or [], out, FILES, settings)
        with stages() as record:
            facts = make_views(job, settings, network, out, record)
        _say(facts, out, json, "views.png")


def mesh(
    out: Out,
    pictures: Pictures = None,
    prior: Prior = "objects",
    elevation: Elevation = "auto",
    pose: Pose = None,
    views: Views = 24,
    novel_elevation: NovelElevation = "-15,20,50",
    steps: Steps = 50,
    search_steps: SearchSteps = 12,
    guidance: Guidance = None,
    refine: Refine = 0,
    two_chains: TwoChains = False,
    as_is: AsIs = False,
    half: Half = False,
    chunk: Chunk = 32,
    formats: Formats = ["glb"],  # noqa: B006 (typer's way)
    detail: Detail = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Make a mesh of the object that PICTUREs show: cameras and novel views as `blindinv views`, then a surface.

    Writes what `views` writes, OUT/object.glb and viewer.html, which shows it in a browser without anything else.
    """
    with one_line_errors():
        from blindinv.photo.settings import parse_device, use_threads
        from blindinv.photo.views_mesh import MESH_FILES, MeshSettings, make_mesh
        from blindinv.photo.views_progress import stages
        from blindinv.photo.views_settings import ViewsSettings, parse_elevation, parse_elevations, parse_formats, parse_pose

        use_threads(threads)
        settings = ViewsSettings(
            prior=prior,
            elevation=parse_elevation(elevation),
            poses=tuple(parse_pose(p) for p in pose or ()),
            views=views,
            novel_elevations=parse_elevations(novel_elevation),
            steps=steps,
            search_steps=search_steps,
            guidance=guidance,
            refine=refine,
            two_chains=two_chains,
            as_is=as_is,
            half=half,
            chunk=chunk,
            seed=seed,
            device=parse_device(device),
        )
        wanted = MeshSettings(parse_formats(formats), detail)
        job, network = _checked(pictures or [], out, MESH_FILES, settings)
        with stages() as record:
            facts = make_mesh(job, settings, wanted, network, out, record)
        _say(facts, out, json, f"object.{wanted.formats[0]}")


def _checked(pictures: list[Path], out: Path, files: frozenset[str], settings: "ViewsSettings") -> "tuple[ViewsJob, ViewPrior]":
    """Everything that can be wrong is found here, before anything is worked on."""
    from blindinv.photo.views import prepare_views, view_prior_for

    quiet_decoders()
    if out.name in ("", ".."):
        raise PhotoError(f"{out}: give -o a folder of its own, such as out; it is made and replaced as a whole")
    check_target(out, files)
    job = prepare_views(pictures, settings)
    return job, view_prior_for(settings)


def _say(facts: dict[str, Any], out: Path, json: bool, main: str) -> None:
    for warning in facts["warnings"]:
        typer.echo(f"blindinv: warning: {warning}", err=True)
    if facts["note"]:
        typer.echo(f"blindinv: note: {facts['note']}", err=True)
    if facts["licence"]:
        typer.echo(f"blindinv: note: the licence of these weights is '{facts['licence']}'", err=True)
    if json:
        from json import dumps

        typer.echo(dumps({"folder": str(out)} | facts))
        return
    first, *others = facts["cameras"]
    parts = [f"{len(facts['pictures'])} picture{'s' if others else ''}", f"{facts['parameters']['views']} novel views"]
    for picture, camera in zip(facts["pictures"][1:], others, strict=True):
        turn = round(180 - (180 - camera["azimuth"] + first["azimuth"]) % 360)
        up = round(camera["elevation"] - first["elevation"])
        parts.append(f"{Path(picture['file']).name} {turn:+d} degrees around and {up:+d} up from the first")
    if "mesh" in facts:
        parts.append(f"{facts['mesh']['faces']} triangles{', watertight' if facts['mesh']['watertight'] else ''}")
    typer.echo(f"{out / main}: {'; '.join(parts)}; {facts['seconds']:.1f} s")
