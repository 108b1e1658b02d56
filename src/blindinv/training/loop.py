"""The one training loop: AdamW, EMA, resumable from its checkpoint, stops cleanly at a step count or a time budget.

A run of n steps equals a run interrupted and resumed: step i draws its data and noise from a generator seeded by
(seed, rank, i) and nothing else.
"""

import json
import math
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """How long and how to train.

    Args:
        steps: total optimiser steps, counted from the first run (None: no limit).
        seconds: time budget of this run (None: no limit).
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        ema: final decay of the exponential moving average of the weights.
        cooldown: fraction of the run, at its end, over which the learning rate falls to 2 % of its peak.
        warmup: steps of linear warm-up at the start of training.
        checkpoint_every: seconds between checkpoints and evaluations.
        seed: of data and noise.
    """

    steps: int | None = None
    seconds: float | None = None
    lr: float = 1e-3
    weight_decay: float = 1e-3
    ema: float = 0.999
    cooldown: float = 0.5
    warmup: int = 100
    checkpoint_every: float = 120.0
    seed: int = 0

    def rate(self, step: int, progress: float) -> float:
        """The learning rate at a step, when `progress` of the run is done."""
        fall = min(1.0, (1 - progress) / self.cooldown) if self.cooldown else 1.0
        return self.lr * min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * max(0.0, fall))))


@dataclass
class State:
    """What a checkpoint holds besides tensors."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name beside `path`, then rename, so that a half-written file never bears the name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tensors(model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()} | {f"ema.{k}": v for k, v in ema.items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return {k: v.detach().contiguous() for k, v in tensors.items()}


def save_checkpoint(path: Path, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer, state: State) -> None:
    """Everything needed to go on, as one safetensors file."""
    meta = {"state": json.dumps(state.__dict__)}
    write_atomically(path, lambda p: save_file(_tensors(model, ema, optimizer), p, metadata=meta))


def _laid_out(value: Tensor, like: Tensor) -> Tensor:
    """A moment in the memory format of its parameter: fused AdamW takes both as flat memory and does not look at strides."""
    return torch.empty_like(like.detach(), device="cpu", dtype=value.dtype).copy_(value) if value.shape == like.shape else value


def load_checkpoint(path: Path, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> State:
    """Restore in place what `save_checkpoint` wrote.

    Raises:
        ValueError: the checkpoint belongs to a network of another shape.
    """
    with safe_open(path, "pt") as f:
        tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (safe_open is not a mapping)
        state = State(**json.loads(f.metadata()["state"]))
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} is a checkpoint of another network; choose another --out or the same sizes") from error
    for k in ema:
        ema[k].copy_(tensors[f"ema.{k}"])
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for k, v in tensors.items():
        if k.startswith("optimizer."):
            _, i, name = k.split(".")
            moments.setdefault(int(i), {})[name] = _laid_out(v, parameters[int(i)])
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


class _Objective(nn.Module):
    """The loss as a module, so that gradients of all processes are averaged by DistributedDataParallel."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, torch.Generator], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, generator: torch.Generator) -> Tensor:
        return self.loss(self.model, generator)


def _progress(plan: Plan, step: int, elapsed: float) -> float:
    done = max(step / plan.steps if plan.steps else 0.0, elapsed / plan.seconds if plan.seconds else 0.0)
    if dist.is_initialized():
        shared = torch.tensor([done])
        dist.broadcast(shared, 0)
        done = shared.item()
    return done


def train(
    model: M,
    loss: Callable[[M, torch.Generator], Tensor],
    out: Path,
    plan: Plan,
    evaluate: Callable[[M], dict[str, float]] | None = None,
    report: Callable[[State, float], None] = lambda state, progress: None,
) -> tuple[M, State]:
    """Minimise `loss(model, generator)` and return the model with its averaged weights.

    Args:
        model: trained in place.
        loss: draws its own batch from the CPU generator it is given; returns a scalar.
        out: folder of `checkpoint.safetensors`, made if need be; if one is there, training goes on from it.
        plan: how long, how fast.
        evaluate: figures of the averaged model, written to the history at each checkpoint.
        report: called after every step with the state and the fraction done.
    """
    if plan.steps is None and plan.seconds is None:
        raise ValueError("give a number of steps or a time budget")
    rank = dist.get_rank() if dist.is_initialized() else 0
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), plan.lr, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True)
    out.mkdir(parents=True, exist_ok=True)
    path, state = out / "checkpoint.safetensors", State()
    if path.exists():
        state = load_checkpoint(path, model, ema, optimizer)
    objective: nn.Module = _Objective(model, loss)
    if dist.is_initialized():
        objective = nn.parallel.DistributedDataParallel(objective)
    floats = [k for k, v in ema.items() if v.is_floating_point()]
    start, before, saved, running, first = time.monotonic(), state.seconds, time.monotonic(), 0.0, state.step

    def checkpoint() -> None:
        state.seconds = before + time.monotonic() - start
        row = {"step": state.step, "seconds": state.seconds, "loss": running}
        current = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(ema)
        row |= evaluate(model.eval()) if evaluate else {}
        model.load_state_dict(current)
        model.train()
        state.history.append(row)
        save_checkpoint(path, model, ema, optimizer, state)

    model.train()
    while (done := _progress(plan, state.step, time.monotonic() - start)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(state.step, done)
        generator = torch.Generator().manual_seed((plan.seed * 1_000_003 + state.step) * 64 + rank)
        value = objective(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(plan.ema, (1 + state.step) / (10 + state.step))
        if rank == 0:
            weights = model.state_dict()
            torch._foreach_lerp_([ema[k] for k in floats], [weights[k].detach() for k in floats], 1 - decay)
        state.step += 1
        running = value.item() if running == 0 else 0.99 * running + 0.01 * value.item()
        report(state, done)
        if rank == 0 and time.monotonic() - saved > plan.checkpoint_every:
            checkpoint()
            saved = time.monotonic()
    if rank == 0:
        if state.step > first:
            checkpoint()
        model.load_state_dict(ema)
    return model.eval(), state


class Recipe(Protocol[M]):
    """A model and its loss, made anew in every process; the recipe itself can be pickled."""

    def setup(self) -> tuple[M, Callable[[M, torch.Generator], Tensor]]:
        """The untrained model, and the loss with its data."""
        ...


def _join_group(rank: int, processes: int, store: str, threads: int) -> None:
    torch.set_num_threads(max(1, threads // processes))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)


def _other_process(index: int, recipe: Recipe[Any], out: Path, plan: Plan, group: tuple[int, str, int]) -> None:
    """Process index + 1 of the group; what is wrong with its input the first process meets too, and says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ValueError):
        _join_group(index + 1, *group)
        train(*recipe.setup(), out, plan)


@contextmanager
def data_parallel(recipe: Recipe[Any], out: Path, plan: Plan, processes: int) -> Iterator[None]:
    """Within the block, `train` shares its steps with `processes - 1` other processes on this machine (CPU, gloo).

    Args:
        recipe: what the other processes train; the caller trains the same.
        out: folder of the checkpoint.
        plan: the caller's; the first process decides when the run ends.
        processes: all of them together; each draws a batch of its own.
    """
    if processes == 1:
        yield
        return
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        group = (processes, f"{folder}/store", threads)
        arguments = (recipe, out, plan, group)
        others = mp.start_processes(_other_process, arguments, nprocs=processes - 1, join=False, start_method="spawn").processes
        try:
            _join_group(0, *group)
            yield
            dist.destroy_process_group()
            for process in others:
                process.join(10)
        finally:
            for process in others:
                process.terminate()
            if dist.is_initialized():
                dist.destroy_process_group()
            torch.set_num_threads(threads)
