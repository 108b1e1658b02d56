"""`blindinv bench mesh` goes through Zero123 as it goes through the shipped prior: a tiny random one, all the way to records."""

import torch
from test_zero123 import parts, save

from blindinv.benchmark.mesh_cases import procedural
from blindinv.benchmark.mesh_rows import FromPictures, MeshContext
from blindinv.benchmark.mesh_run import MeshPlan, run_mesh
from blindinv.benchmark.views_rows import ViewContext, Views, found_poses
from blindinv.views.search import Search
from blindinv.views.surface import Fit
from blindinv.zoo.views import load_view_prior

QUICK = Fit((12,), (5,), (1e-2,), rays=64, samples=8, fine=4)


def test_from_pictures_to_records(tmp_path):
    torch.manual_seed(0)
    prior = load_view_prior(save(tmp_path / "prior", parts()))
    search = Search(azimuths=2, polars=(0.0,), keep=1, steps=2, levels=(400,), draws=1)
    context = MeshContext(ViewContext(prior, steps=2, search=search), 3)
    rows = {"two-views": FromPictures(Views(2, found_poses), QUICK)}
    plan = MeshPlan(context, rows, "tiny", tmp_path / "mesh.jsonl", [procedural(0)])
    (record,) = run_mesh(plan)
    assert record.config["prior"] == "tiny" and record.config["size"] == prior.size
    assert 0 <= record.figures["pose_error"] <= 180 and record.seconds > record.figures["fit_seconds"] > 0
    assert "inputs" in record.kernels
    (again,) = run_mesh(plan)
    assert again == record
