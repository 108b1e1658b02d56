"""Calls of `blindinv train ...` from tests, and what every one of them must leave behind."""

import json

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from blindinv.training.card import sha256
from blindinv.training.cli import app
from blindinv.training.loop import State


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def good(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def refused(*arguments):
    """Exit code 2 and one line."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output + repr(result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def state_of(folder):
    with safe_open(folder / "checkpoint.safetensors", "pt") as f:
        return State(**json.loads(f.metadata()["state"]))


def same(a, b):
    a, b = load_file(a), load_file(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def check_outputs(weights, *words):
    """A card that names everything, and two pictures."""
    card = weights.with_suffix(".md").read_text()
    for word in (*words, "MIT", sha256(weights), "| seed | 0 |", "| batch | 2 |"):
        assert word in card, word
    for name in ("loss.png", "samples.png"):
        with Image.open(weights.parent / name) as picture:
            assert min(picture.size) > 50
    assert not list(weights.parent.glob(".*"))
    return card
