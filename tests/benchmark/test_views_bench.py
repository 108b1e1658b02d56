"""The benchmark of novel views: its protocol, its figures, and its rows where the prior is perfect."""

from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure

from blindinv.benchmark.bench import Results
from blindinv.benchmark.records import Record, read
from blindinv.benchmark.table import lines
from blindinv.benchmark.views import BENCHES
from blindinv.benchmark.views_cases import (
    GAPS,
    LEAST_FAR,
    ViewCase,
    box,
    input_cameras,
    pose_errors,
    recall,
    score_views,
    target_cameras,
    view_case,
)
from blindinv.benchmark.views_figures import novel_views
from blindinv.benchmark.views_rows import ROWS, TWO, Poses, ViewContext, Views, gap_name, true_poses
from blindinv.benchmark.views_run import ViewPlan, chosen_family, chosen_rows, run_views
from blindinv.views.blobs import Blobs
from blindinv.views.camera import Camera, camera_error
from blindinv.views.consistent import even, view_weights
from blindinv.views.oracle import OracleViews
from blindinv.views.search import Search

BENCH = BENCHES["views"]
QUICK = Search(steps=9, levels=(400,), draws=1)


def oracle_case(index: int = 0, size: int = 16) -> tuple[ViewCase, OracleViews]:
    """An object of blobs from the cameras of the protocol, and the prior that knows it."""
    thing, camera = Blobs.random(index), input_cameras(index)
    wanted = target_cameras(camera, index)
    truth = thing.render(wanted, size)
    targets = torch.cat([truth, (truth < 0.99).any(1, keepdim=True).float()], 1)
    return ViewCase(f"blobs-{index}", index, thing.render(camera, size), targets, camera, wanted), OracleViews(
        thing, camera, size
    )


@pytest.fixture(scope="module")
def known() -> tuple[ViewCase, ViewContext]:
    case, prior = oracle_case()
    return case, ViewContext(prior, steps=10, search=QUICK)


def test_cameras_keep_the_protocol():
    for index in range(12):
        camera = input_cameras(index)
        gap = torch.rad2deg(camera[1:].relative_to(camera[[0, 0]])[:, 1])
        for j, g in enumerate(gap):
            low, high = GAPS[(index + j) % 3]
            assert low - 0.01 <= abs(g) <= high + 0.01
        assert gap[0] * gap[1] < 0
        wanted = target_cameras(camera, index)
        apart = torch.stack([camera_error(wanted, camera[[j] * 8]) for j in range(3)])
        assert len(wanted) == 8 and apart.min() >= 20 and (apart[0] > 60).sum() >= LEAST_FAR
        assert torch.equal(wanted.pose, target_cameras(input_cameras(index), index).pose)
        case = ViewCase("c", index, torch.zeros(3, 3, 8, 8), torch.zeros(8, 4, 8, 8), camera, wanted)
        low, high = GAPS[index % 3]
        assert gap_name(case) == f"{low}-{high}"


def test_a_case_holds_what_its_cameras_see():
    case = view_case(1, "blocks", 24)
    again, other = view_case(1, "blocks", 24), view_case(1, "blocks", 24, seed=1)
    assert case.inputs.shape == (3, 3, 24, 24) and case.targets.shape == (8, 4, 24, 24)
    assert case.sha256 == again.sha256 and torch.equal(case.inputs, again.inputs) and case.sha256 != other.sha256
    moved = case.camera[[0] * 8].moved(case.goals)
    assert camera_error(moved, case.wanted).max() < 1e-3
    assert pose_errors(case, case.poses).max() < 1e-3
    off = case.poses + torch.tensor([0.0, 0.5, 0.1])
    assert torch.allclose(pose_errors(case, off).float(), torch.rad2deg(torch.tensor(0.5)), atol=1e-3)


def test_figures_are_means_over_all_and_over_far_targets():
    case, _ = oracle_case()
    far = case.distance > 60
    assert 0 < far.sum() < 8
    novel = case.targets[:, :3] + torch.where(far, 0.1, 0.01).view(-1, 1, 1, 1)
    dark = replace(case, targets=case.targets * 0.5)
    figures, curves = score_views(dark, dark.targets[:, :3] + torch.where(far, 0.1, 0.01).view(-1, 1, 1, 1))
    assert figures["psnr_far"] == pytest.approx(20, abs=1e-3) and figures["psnr_box_far"] == pytest.approx(20, abs=1e-3)
    assert figures["psnr"] == pytest.approx((20 * int(far.sum()) + 40 * int((~far).sum())) / 8, abs=1e-3)
    assert curves["distance"] == sorted(curves["distance"]) and [round(p) for p in curves["psnr"]] == sorted(
        (round(p) for p in curves["psnr"]), reverse=True
    )
    assert score_views(case, case.targets[:, :3])[0]["ssim"] == pytest.approx(1)
    assert novel.shape == (8, 3, 16, 16)


def test_the_box_is_that_of_the_object():
    alpha = torch.zeros(10, 12)
    alpha[3:6, 4] = 0.2
    rows, columns = box(alpha)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (3, 6, 4, 5)
    assert alpha[box(alpha * 0)].shape == (10, 12)


def test_recall_counts():
    assert recall([1, 4, 9, 20], 9) == 75


def test_a_perfect_prior_finds_the_pose_and_tells_every_view(known):
    case, context = known
    answer = ROWS["two-views"](case, context)
    assert pose_errors(case, answer.poses).max() < 3 and answer.found is not None
    known_pose, one = ROWS["two-known"](case, context), ROWS["one-view"](case, context)
    assert known_pose.poses is None and one.poses is None
    for truth in (known_pose, one):  # this prior needs one picture
        assert score_views(case, truth.novel)[0]["psnr"] > 60
    for wrong in ("two-shuffled", "two-random"):
        assert score_views(case, ROWS[wrong](case, context).novel)[0]["psnr"] < 40
    assert answer.clock.wall >= context.found(case, 1)[1].wall > 0


def test_the_search_is_done_once_and_counted_in_every_row(known):
    case, context = known
    first = context.found(case, 1)
    row = Views(2, TWO.poses, known=True)
    assert row(case, context).clock.cpu >= first[1].cpu and context.found(case, 1) is first


def test_the_nearest_input_is_chosen_by_the_true_poses(known):
    case, context = known
    answer = ROWS["nearest-input"](case, context)
    for picture, wanted in zip(answer.novel, case.wanted.pose, strict=True):
        apart = [float(camera_error(Camera.of(wanted[None]), case.camera[j : j + 1])) for j in (0, 1)]
        assert torch.equal(picture, case.inputs[apart.index(min(apart))])


def test_without_annealing_both_pictures_always_count_alike():
    assert {even(t) for t in range(0, 1000, 7)} == {0.5} and view_weights(even(999), 2) == [0.5, 0.5]


def test_wrong_poses_are_wrong():
    for index in range(6):
        case, prior = oracle_case(index, 8)
        context = ViewContext(prior)
        sources: list[Poses] = [ROWS["two-shuffled"].poses, ROWS["two-random"].poses]
        assert min(float(pose_errors(case, p(case, context, 2))[0]) for p in sources) > 0.5
        assert pose_errors(case, true_poses(case, context, 3)).max() < 1e-3


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    case, prior = oracle_case()
    rows = {name: ROWS[name] for name in ("nearest-input", "one-view", "two-known")}
    plan = ViewPlan(ViewContext(prior, steps=4), rows, "oracle", tmp_path / "views.jsonl", limit=1)
    some = replace(plan, rows={"one-view": rows["one-view"]})
    first = list(run_views(some, lambda i: case))
    before = plan.out.read_bytes()
    records = list(run_views(plan, lambda i: case))
    assert plan.out.read_bytes().startswith(before) and [r.method for r in records] == list(rows)
    assert records[1] == first[0] and list(run_views(plan, lambda i: case)) == records
    assert len(read(plan.out)) == 3
    longer = replace(plan, context=ViewContext(prior, steps=5))
    assert len(list(run_views(longer, lambda i: case))) == 3 and len(read(plan.out)) == 5  # nearest-input has no steps
    assert not [text for r in records for text in map(str, r.config["settings"].values()) if " at 0x" in text]


def made_up(method: str, image: str, **figures: float) -> Record:
    curves = {"distance": [30.0, 100.0], "psnr": [25.0, 20.0]}
    if "pose_error" in figures:
        curves |= {"pose_error": [figures["pose_error"]], "found_error": [20.0]}
    base = {"psnr": 20.0, "ssim": 0.8, "psnr_box": 15.0, "psnr_far": 18.0, "ssim_far": 0.7, "psnr_box_far": 13.0, "gap_low": 30.0}
    return Record("views", method, image, 0, {"device": "cpu"}, {}, {}, base | figures, 2.0, 1.0, curves)


def test_the_table_and_the_goals_say_what_the_records_hold():
    records = [made_up("one-view", i) for i in "ab"]
    records += [
        made_up("two-views", "a", psnr_far=21.0, pose_error=4.0),
        made_up("two-views", "b", psnr_far=19.5, pose_error=40.0),
    ]
    heading, one, two = lines(records, BENCH.columns)
    told = dict(zip(heading, two, strict=True))
    assert told["pose, median °"] == "22.0" and told["within 5 / 10 / 15 / 30°, %"] == "50 / 50 / 50 / 50"
    assert told["far: PSNR"] == "20.25" and told["gap 30-60"] == "22.0" and told["60-120"] == "–"
    assert dict(zip(heading, one, strict=True))["pose, median °"] == "–"
    goals = {g.what: g.line(Results(records))[2] for g in BENCH.goals}
    assert goals["two views above one, far targets"] == "+2.25 dB (20.25 against 18.00)"
    assert goals["error of the pose, median"] == "22.0 degrees (missed)"
    assert goals["known poses above another object's"] == "not run"


def test_the_figure_shows_pictures_and_curves(tmp_path):
    case, prior = oracle_case()
    rows = {name: ROWS[name] for name in ("nearest-input", "one-view", "two-views")}
    plan = ViewPlan(ViewContext(prior, steps=4, search=QUICK), rows, "oracle", tmp_path / "views.jsonl", limit=1)
    records = list(run_views(plan, lambda i: case))
    figure = Figure()
    novel_views(records, figure)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels[:4] == ["pictures 1, 2, 3", "1 picture", "2 pictures", "truth"]
    truth = torch.from_numpy(figure.axes[3].images[0].get_array().copy()).float() / 255
    order = case.distance.argsort()
    expected = torch.cat(list(case.targets[order, :3]), -1).permute(1, 2, 0)
    assert truth.shape == expected.shape and (truth - expected).abs().mean() < 0.02
    novel_views([made_up("one-view", "a")], Figure())  # nothing to show, still numbers


def test_names_that_are_none_are_refused():
    assert list(chosen_rows(["two-known", "one-view"])) == ["two-known", "one-view"] and len(chosen_rows([])) == len(ROWS)
    with pytest.raises(ValueError, match="no such row"):
        chosen_rows(["three-shuffled"])
    with pytest.raises(ValueError, match="blocks, tilted"):
        chosen_family("cats")
