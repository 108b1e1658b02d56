"""The benchmark of meshes: its figures on solids of known shape, and its rows where the prior is perfect."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from matplotlib.figure import Figure
from typer.testing import CliRunner

from blindinv.benchmark.bench import Results
from blindinv.benchmark.mesh import BENCHES
from blindinv.benchmark.mesh_cases import (
    DIAMETER,
    FILES,
    POINTS,
    Solid,
    distances,
    of_file,
    procedural,
    score_mesh,
    solids,
)
from blindinv.benchmark.mesh_figures import meshes_side_by_side
from blindinv.benchmark.mesh_rows import FromPictures, MeshContext, TrueViews, mesh_rows
from blindinv.benchmark.mesh_run import MeshPlan, chosen_counts, run_mesh
from blindinv.benchmark.records import Record
from blindinv.benchmark.table import lines
from blindinv.benchmark.views_cases import ViewCase, input_cameras
from blindinv.benchmark.views_rows import ViewContext, Views, true_poses
from blindinv.cli import app
from blindinv.views.blobs import Blobs
from blindinv.views.mesh import Mesh
from blindinv.views.objects import within
from blindinv.views.oracle import OracleViews
from blindinv.views.rings import rings
from blindinv.views.surface import Fit

BENCH = BENCHES["mesh"]
QUICK = Fit((20,), (80,), (2e-2,), rays=384, samples=24, fine=12, sharpness=(30.0, 120.0))


def ball(radius: float = 0.5, at: float = 0.0) -> trimesh.Trimesh:
    made = trimesh.creation.icosphere(4, radius)
    made.apply_translation([at, 0, 0])
    return made


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    vertices = np.asarray(shape.vertices, np.float32)
    return Mesh(vertices, np.asarray(shape.faces), np.full_like(vertices, 0.5))


def solid(radius: float = 0.5, index: int = 0) -> Solid:
    shape = ball(radius)
    shape.visual.face_colors = (255 * (0.5 + shape.triangles_center / (2 * radius))).round().clip(0, 255).astype(np.uint8)
    draw = lambda count, rng: np.asarray(trimesh.sample.sample_surface(shape, count, seed=rng)[0])  # noqa: E731
    return Solid(f"ball-{index}", index, shape, draw, lambda points: within(shape, points))


def test_a_solid_is_itself():
    """The distance is that of 10000 random points to each other: 0.5 / sqrt(density) on average."""
    figures = score_mesh(mesh_of(ball()), solid())
    expected = 0.5 * (np.pi / POINTS) ** 0.5 * 2 * 0.5 / DIAMETER
    assert figures["chamfer"] == pytest.approx(expected, rel=0.05)
    assert figures["f"] > 0.995 and figures["iou"] == 1 and figures["watertight"] == 1 and figures["missing"] == 0


def test_a_smaller_ball_is_off_by_the_difference_of_radii():
    figures = score_mesh(mesh_of(ball(0.4)), solid())
    assert figures["chamfer"] == pytest.approx(0.1 / DIAMETER, rel=0.02)
    assert figures["f"] == 0
    assert figures["iou"] == pytest.approx(0.8**3, abs=0.02)


def test_half_a_surface_has_recall_one_half():
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.random((20_000, 2)), np.zeros((20_000, 1))], 1)
    figures = distances(plane[plane[:, 0] < 0.5], plane)
    assert figures["precision"] == 1
    assert figures["recall"] == pytest.approx(0.5 + 0.02 * DIAMETER, abs=0.01)
    assert figures["f"] == pytest.approx(2 * figures["recall"] / (1 + figures["recall"]))


def test_no_mesh_scores_nothing():
    assert score_mesh(None, solid()) == {"f": 0.0, "iou": 0.0, "watertight": 0.0, "missing": 1.0}
    assert "iou" not in score_mesh(None, replace(solid(), contains=None))


def test_procedural_solids_know_their_surface_and_inside():
    thing = procedural(0)
    points = thing.points
    assert points.shape == (POINTS, 3) and np.linalg.norm(points, axis=1).max() <= 0.651
    inner, outer = thing.contains(points * 0.97), thing.contains(points * 1.03)
    assert inner.mean() > 0.7 > 0.2 > outer.mean()
    assert (procedural(0).points == points).all()


def test_meshes_of_files_are_open_or_closed(tmp_path):
    ball(3.0, 5.0).export(tmp_path / "closed.ply")
    half = ball()
    half.update_faces(half.triangles_center[:, 2] > 0)
    half.export(tmp_path / "open.obj")
    closed, opened = of_file(tmp_path / "closed.ply", FILES), of_file(tmp_path / "open.obj", FILES + 1)
    assert closed.contains is not None and opened.contains is None
    np.testing.assert_allclose(np.linalg.norm(closed.points, axis=1), 0.65, atol=0.01)
    assert [s.name for s in solids(1, tmp_path)] == ["blocks-000", "closed", "open"]
    with pytest.raises(ValueError, match="no folder"):
        solids(0, tmp_path / "none")


def test_rings_look_from_all_heights():
    camera = rings(6, (-15.0, 45.0), start=10.0)
    torch.testing.assert_close(90 - torch.rad2deg(camera.polar), torch.tensor([-15.0, 45.0] * 3))
    torch.testing.assert_close(torch.rad2deg(camera.azimuth), 10 + 60 * torch.arange(6.0))
    with pytest.raises(ValueError, match="one camera"):
        rings(0)


def test_true_views_give_the_ball_back_and_runs_resume(tmp_path):
    plan = MeshPlan(MeshContext(), {"true-12": TrueViews(12, QUICK, 32)}, "", tmp_path / "mesh.jsonl", [solid()], pictured=1)
    (record,) = run_mesh(plan)
    assert record.figures["f"] > 0.8 and record.figures["iou"] > 0.9 and record.figures["watertight"] == 1
    assert set(record.kernels) == {"found", "true", "inputs"}
    (again,) = run_mesh(plan)
    assert again == record and len((tmp_path / "mesh.jsonl").read_text().splitlines()) == 1
    other = replace(plan, rows={"true-12": TrueViews(12, replace(QUICK, rays=300), 32)})
    (fresh,) = run_mesh(other)
    assert fresh.config != record.config and fresh.figures["chamfer"] != record.figures["chamfer"]
    figure = Figure()
    meshes_side_by_side([record], figure)
    assert sum(len(axes.images) for axes in figure.axes) == 2  # pictures and truth; true-12 has no column


def test_a_perfect_prior_gives_the_object(tmp_path):
    """A large ball and a small red one, known to the prior: from one picture of them comes a mesh of both."""
    thing = Blobs(
        torch.tensor([[0.0, 0, 0], [0.0, 0.35, 0.2]]), torch.tensor([0.2, 0.08]), torch.tensor([[0.1, 0.3, 0.8], [0.9, 0, 0]])
    )
    camera, wanted, size = input_cameras(0), rings(12), 32
    prior = OracleViews(thing, camera, size)
    context = MeshContext(ViewContext(prior, steps=5), 12)
    truth = thing.render(wanted, size)
    context._case["ball-0"] = ViewCase("ball-0", 0, prior.pictures(), truth, camera, wanted)
    made = FromPictures(Views(1, true_poses, known=True), replace(QUICK, iterations=(150,)))(solid(0.3), context)
    assert made.mesh is not None and made.poses is None and made.mesh.watertight
    left = made.mesh.vertices[made.mesh.vertices[:, 1] < -0.1]
    # a fuzzy ball covers a half at radius * sqrt(2 log 2), and so much that it is no more white at about twice that
    assert 0.2 * 1.18 < np.linalg.norm(left, axis=1).mean() < 0.2 * 2.4
    top = made.mesh.vertices[:, 1] > 0.38
    assert top.any() and made.mesh.colours[top].mean(0)[0] > made.mesh.colours[top].mean(0)[2]
    assert made.clock.wall > made.fit.wall > 0


def test_white_views_make_no_mesh():
    white = OracleViews(Blobs(torch.zeros(1, 3), torch.tensor([1e-3]), torch.ones(1, 3)), input_cameras(0), 8)
    context = MeshContext(ViewContext(white, steps=2), 3)
    wanted = rings(3)
    context._case["ball-0"] = ViewCase("ball-0", 0, white.pictures(), torch.ones(3, 4, 8, 8), input_cameras(0), wanted)
    made = FromPictures(Views(1, true_poses, known=True), QUICK)(solid(), context)
    assert made.mesh is None
    with pytest.raises(ValueError, match="need a view prior"):
        FromPictures(Views(1, true_poses, known=True))(solid(), MeshContext())


def test_rows_follow_the_numbers_of_pictures():
    assert list(mesh_rows(())) == ["true-36", "true-16"]
    assert list(mesh_rows((1, 3))) == ["true-36", "true-16", "one-view", "three-views", "three-known"]
    assert chosen_counts("3, 1") == (1, 3) and chosen_counts("none") == ()
    for wrong in ("4", "1;2", ""):
        with pytest.raises(ValueError, match="--views-in"):
            chosen_counts(wrong)


def record(method: str, image: str, **figures: float) -> Record:
    return Record("mesh", method, image, 0, {"device": "cpu"}, {}, {}, figures, 1.0, 1.0)


def test_table_and_goals():
    good = dict(chamfer=0.007, f=0.995, fit_seconds=40.0, fit_cpu_seconds=12.0, watertight=1.0, missing=0.0)
    records = [record("true-36", "spot", **good), record("one-view", "blocks-000", f=0.5, missing=0.0)]
    records += [record("two-views", "blocks-000", f=0.4, missing=0.0)]
    heading, first, *_ = lines(records, BENCH.columns)
    assert dict(zip(heading, first, strict=True))["F@0.02, files"] == "0.995"
    reached = [goal.line(Results(records))[2] for goal in BENCH.goals]
    assert reached == ["0.0070, 0.995, 12 s of one processor", "0.400 against 0.500 (missed)", "not run"]
    late = [record("true-36", "spot", **(good | {"fit_cpu_seconds": 31.0}))]
    assert "missed" in BENCH.goals[0].line(Results(late))[2]


def test_the_command_says_what_is_wrong(tmp_path):
    runner = CliRunner()
    for options, line in (
        (["--views-in", "7"], "--views-in 7: give some of 1, 2, 3, or none"),
        (["--views-in", "none", "--limit", "0", "--meshes", str(tmp_path)], f"--meshes {tmp_path}: no folder with"),
    ):
        result = runner.invoke(app, ["bench", "mesh", *options, "--out", str(tmp_path / "out" / "mesh.jsonl")])
        assert result.exit_code == 2 and line in result.output
    assert not (tmp_path / "out").exists()
