"""LPIPS is torchmetrics' own, with a backbone from a file."""

import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torch import Tensor
from torchvision.models import alexnet

from blindinv.benchmark.lpips import load_lpips
from blindinv.benchmark.photos64 import photos64_task


@pytest.fixture(scope="module")
def backbone() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {k: v for k, v in alexnet(weights=None).state_dict().items() if k.startswith("features.")}


def test_equals_the_library_and_forgets_no_weight(tmp_path: Path, backbone: dict[str, Tensor]):
    from torchmetrics.functional.image.lpips import _LPIPS

    save_file(backbone, tmp_path / "a.safetensors")
    torch.save(backbone, tmp_path / "a.pth")
    one, two = load_lpips(tmp_path / "a.safetensors"), load_lpips(tmp_path / "a.pth")
    x, truth = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    net = _LPIPS(net="alex", pnet_rand=True)
    names = {f"features.{k.split('.', 1)[1]}": k for k in net.net.state_dict()}
    net.net.load_state_dict({own: backbone[name] for name, own in names.items()})
    expected = net(x, truth, normalize=True).flatten()
    assert torch.allclose(one(x, truth), expected) and torch.equal(one(x, truth), two(x, truth))
    assert expected.shape == (2,) and (expected > 0).all() and torch.equal(one(truth, truth), torch.zeros(2))


def test_becomes_a_figure_and_part_of_the_experiment(tmp_path: Path, backbone: dict[str, Tensor]):
    (tmp_path / "in").mkdir()
    Image.fromarray(data.astronaut()[:256, 100:356]).save(tmp_path / "in" / "a.png")
    save_file(backbone, tmp_path / "a.safetensors")
    plain, task = photos64_task(tmp_path / "in"), photos64_task(tmp_path / "in", lpips=tmp_path / "a.safetensors")
    assert set(task.config) - set(plain.config) == {"lpips"}
    batch = task.batch(task.cases, "cpu")
    (shifted,) = task.score(batch, batch.truth.roll((3, -5), (-2, -1)), batch.kernel)
    (blurred,) = task.score(batch, batch.y, batch.kernel)
    assert shifted["lpips"] < 1e-6 < blurred["lpips"]
    assert "lpips" not in plain.score(batch, batch.y, batch.kernel)[0]


def test_refuses_what_is_no_backbone_and_runs_no_code(tmp_path: Path, backbone: dict[str, Tensor]):
    class Code:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "code.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    save_file({k: v for k, v in backbone.items() if "features.3." not in k}, tmp_path / "part.safetensors")
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    for name in ("code.pth", "other.safetensors", "part.safetensors", "none.safetensors", "missing.pth"):
        with pytest.raises(ValueError, match=name):
            load_lpips(tmp_path / name)
    assert not (tmp_path / "ran").exists()
