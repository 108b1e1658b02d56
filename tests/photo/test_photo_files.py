import os
import pickle

import numpy as np
import pytest
from PIL import Image

from blindinv.photo.folder import check_target, replacing
from blindinv.photo.kernels import read_kernel
from blindinv.photo.read import PhotoError


def test_kernel_is_read_from_npy_and_png(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (15, 15)).astype(np.uint8)
    np.save(tmp_path / "a.npy", values[None, None].astype(np.float64))
    Image.fromarray(values).save(tmp_path / "b.png")
    for name in ("a.npy", "b.png"):
        kernel = read_kernel(tmp_path / name)
        assert kernel.shape == (1, 1, 15, 15) and float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        assert np.allclose(kernel[0, 0].numpy(), values / values.sum(), atol=1e-6)


class Harmful:
    def __reduce__(self):
        return os.abort, ()


BAD = {
    "flat": (np.ones(20), "20"),
    "oblong": (np.ones((10, 20)), "10x20"),
    "tiny": (np.ones((3, 3)), "3x3"),
    "huge": (np.ones((200, 200)), "200x200"),
    "batch": (np.ones((2, 11, 11)), "2x11x11"),
    "scalar": (np.float64(1), "single number"),
    "negative": (-np.eye(11), "negative"),
    "zero": (np.zeros((11, 11)), "zero"),
    "nan": (np.full((11, 11), np.nan), "NaN"),
    "complex": (np.ones((11, 11), complex), "real"),
    "text": (np.full((11, 11), "a"), "real"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_kernel(tmp_path, name):
    values, words = BAD[name]
    np.save(tmp_path / "k.npy", values)
    with pytest.raises(PhotoError, match=words) as caught:
        read_kernel(tmp_path / "k.npy")
    assert "\n" not in str(caught.value)


def test_kernels_are_never_unpickled(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps(Harmful()))
    np.save(tmp_path / "b.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    (tmp_path / "c.npy").write_bytes(b"")
    (tmp_path / "d.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999, 99999), }\n"
    )
    np.savez(tmp_path / "e.npz", np.ones((11, 11)))
    (tmp_path / "e.npz").rename(tmp_path / "e.npy")
    for name in "abcde":
        with pytest.raises(PhotoError, match="not a plain"):
            read_kernel(tmp_path / f"{name}.npy")
    with pytest.raises(PhotoError, match="no such file"):
        read_kernel(tmp_path / "f.npy")
    with pytest.raises(PhotoError, match=r"\.npy or \.png"):
        read_kernel(tmp_path / "f.mat")


def test_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "out" / "photo"
    with pytest.raises(KeyboardInterrupt), replacing(target) as new:
        (new / "image.png").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with replacing(target) as new:
        (new / "image.png").write_bytes(b"first")
        (new / "std.png").write_bytes(b"first")
    with pytest.raises(KeyboardInterrupt), replacing(target) as new:
        raise KeyboardInterrupt
    assert {p.name for p in target.iterdir()} == {"image.png", "std.png"}
    with replacing(target) as new:
        (new / "image.png").write_bytes(b"second")
    assert [p.name for p in target.parent.iterdir()] == ["photo"]
    assert [p.read_bytes() for p in target.iterdir()] == [b"second"]


def test_failed_swap_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "photo"
    target.mkdir()
    (target / "image.png").write_bytes(b"old")
    rename = os.rename

    def refuse(a, b):
        if str(a).endswith(".part"):
            raise OSError("disk on fire")
        rename(a, b)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="fire"), replacing(target) as new:
        (new / "image.png").write_bytes(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["photo"] and (target / "image.png").read_bytes() == b"old"


def test_folders_of_others_are_left_alone(tmp_path):
    check_target(tmp_path / "new" / "photo")
    (tmp_path / "photo").mkdir()
    check_target(tmp_path / "photo")
    (tmp_path / "photo" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(PhotoError, match="not results"):
        check_target(tmp_path / "photo")
    with pytest.raises(PhotoError, match="cannot be written"):
        check_target(tmp_path / "photo" / "holiday.jpg" / "out")
    with pytest.raises(PhotoError, match="not a folder"):
        check_target(tmp_path / "photo" / "holiday.jpg")
