"""Training: an interrupted and resumed run is the uninterrupted run; nothing half-written is left."""

import pytest
import torch

from blindinv.priors.kernel import KernelDenoiser
from blindinv.training.kernel_denoiser import KernelDenoiserLoss, KernelDenoiserScores
from blindinv.training.loop import Plan, load_checkpoint, train, write_atomically


class Interrupted(Exception):
    pass


def model(channels=4):
    torch.manual_seed(0)
    return KernelDenoiser(channels, 3)


def loss():
    return KernelDenoiserLoss(size=9, batch=2)


def interrupt_at(step):
    def report(state, progress):
        if state.step == step:
            raise Interrupted

    return report


PLAN = Plan(steps=6, lr=1e-2, warmup=2, checkpoint_every=-1.0)


def test_save_and_resume_gives_the_weights_of_an_uninterrupted_run(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, end = train(model(), loss(), tmp_path / "whole", PLAN)
    with pytest.raises(Interrupted):
        train(model(), loss(), tmp_path / "parts", PLAN, report=interrupt_at(4))
    steps = []
    torch.manual_seed(99)  # what happened before must not matter
    parts, state = train(KernelDenoiser(4, 3), loss(), tmp_path / "parts", PLAN, report=lambda s, p: steps.append((s.step, p)))
    assert steps == [(4, 0.5), (5, pytest.approx(4 / 6)), (6, pytest.approx(5 / 6))]
    assert end.step == state.step == 6
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    untrained = model().state_dict()
    assert all(not torch.equal(v, untrained[k]) for k, v in whole.state_dict().items())
    last = [dict(row, seconds=0) for row in (end.history[-1], state.history[-1])]
    assert last[0]["step"] == last[1]["step"] == 6
    files = [load(tmp_path / name) for name in ("whole", "parts")]
    assert files[0].keys() == files[1].keys()
    for key in files[0]:
        assert torch.equal(files[0][key], files[1][key]), key  # weights, averages and moments


def test_every_step_has_data_of_its_own_and_seeds_differ(tmp_path):
    def draws(seed):
        seen = []

        def spy(m, generator):
            seen.append(torch.rand((), generator=generator).item())
            return loss()(m, generator)

        train(model(), spy, tmp_path / str(seed), Plan(steps=5, seed=seed))
        return seen

    assert len({*draws(0), *draws(1)}) == 10


def load(folder):
    from safetensors.torch import load_file

    return load_file(folder / "checkpoint.safetensors")


def test_training_makes_its_folder(tmp_path):
    train(model(), loss(), tmp_path / "new" / "folder", Plan(steps=1))
    assert (tmp_path / "new" / "folder" / "checkpoint.safetensors").exists()


def test_a_finished_run_is_left_as_it_is(tmp_path):
    first, _ = train(model(), loss(), tmp_path, PLAN)
    calls = []
    again, state = train(KernelDenoiser(4, 3), loss(), tmp_path, PLAN, report=lambda s, p: calls.append(s))
    assert calls == []
    assert state.step == 6
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_result_is_the_averaged_model(tmp_path):
    trained, _ = train(model(), loss(), tmp_path, PLAN)
    tensors = load(tmp_path)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, tensors[f"ema.{name}"])
        assert not torch.equal(value, tensors[f"model.{name}"])
    assert not trained.training


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    train(model(), loss(), tmp_path, Plan(steps=1))
    other = model(8)
    with pytest.raises(ValueError, match="another network"):
        train(other, loss(), tmp_path, Plan(steps=2))
    other = KernelDenoiser(4, 4)
    with pytest.raises(ValueError, match="another network"):
        load_checkpoint(
            tmp_path / "checkpoint.safetensors", other, dict(other.state_dict()), torch.optim.AdamW(other.parameters())
        )


def test_without_an_end_it_does_not_begin(tmp_path):
    with pytest.raises(ValueError, match="steps or a time budget"):
        train(model(), loss(), tmp_path, Plan())


def test_a_time_budget_stops_it(tmp_path):
    _, state = train(model(), loss(), tmp_path, Plan(seconds=0.3))
    assert state.step > 1
    assert 0.2 < state.seconds < 5


def test_evaluation_sees_the_averaged_model_and_training_goes_on(tmp_path):
    plan = Plan(steps=3, lr=1e-2, warmup=1, checkpoint_every=-1.0)
    seen = []

    def evaluate(m):
        seen.append((m.training, m.layers[0].weight.detach().clone()))
        return {"figure": float(len(seen))}

    _, state = train(model(), loss(), tmp_path, plan, evaluate)
    assert [row["figure"] for row in state.history] == [1.0, 2.0, 3.0, 4.0]
    assert not any(training for training, _ in seen)
    assert torch.equal(seen[-1][1], load(tmp_path)["ema.layers.0.weight"])
    (tmp_path / "plain").mkdir()
    train(model(), loss(), tmp_path / "plain", plan)
    assert torch.equal(load(tmp_path)["model.layers.0.weight"], load(tmp_path / "plain")["model.layers.0.weight"])


def test_learning_rate():
    plan = Plan(steps=100, lr=1.0, warmup=10, cooldown=0.5)
    assert plan.rate(0, 0.0) == pytest.approx(0.1)
    assert plan.rate(9, 0.09) == pytest.approx(1)
    assert plan.rate(50, 0.5) == pytest.approx(1)
    assert plan.rate(75, 0.75) == pytest.approx(0.02 + 0.98 / 2)
    assert plan.rate(100, 1.0) == pytest.approx(0.02)


def test_training_lowers_the_loss(tmp_path):
    scores, start = KernelDenoiserScores(9, 16), model()
    before = scores(start)["log_mean"]
    trained, _ = train(start, KernelDenoiserLoss(9, 16), tmp_path, Plan(steps=60, lr=1e-2, warmup=5, ema=0.9))
    assert scores(trained)["log_mean"] < before


def test_write_atomically_replaces_or_leaves_nothing(tmp_path):
    path = tmp_path / "file.txt"

    def fail(p):
        p.write_text("half")
        raise Interrupted

    with pytest.raises(Interrupted):
        write_atomically(path, fail)
    assert list(tmp_path.iterdir()) == []
    write_atomically(path, lambda p: p.write_text("old"))
    with pytest.raises(Interrupted):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    write_atomically(path, lambda p: p.write_text("new"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
