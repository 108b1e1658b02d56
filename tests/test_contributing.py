"""The example of CONTRIBUTING.md is a method: in one new file, found by its name, and it deblurs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import blindinv.methods as package
from blindinv.benchmark.rows import blind, rows
from blindinv.deblur import deblur
from blindinv.kernels.motion import motion_kernels
from blindinv.operators.convolution import CircularConvolution

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example as a file in the folder of methods (a second folder of that package)."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "diffpir_of_the_page.py").write_text(code)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    package.methods.cache_clear()
    yield code
    package.methods.cache_clear()


def test_it_is_short(added: str):
    lines = [line for line in added.splitlines() if line.strip() and not line.startswith(("import", "from", '"""'))]
    assert len(lines) <= 20


def test_one_new_file_makes_a_method_and_two_rows(added, scenes, oracle):
    assert "diffpir" in package.methods()
    table = rows()
    assert "diffpir-true" in table and not blind(package.methods()["diffpir"])
    x, k = scenes(24, 3, 48)[:2], motion_kernels(2, 11, 1.0, torch.Generator().manual_seed(4))
    y = CircularConvolution()(x, k) + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = deblur(y, method="diffpir", prior=oracle, kernel=k, sigma=0.01, circular=True, steps=25)
    assert ((found.image - x).square().mean((1, 2, 3)).sqrt() < 0.05).any()


def test_nothing_is_left_of_it():
    assert "diffpir" not in package.methods()
