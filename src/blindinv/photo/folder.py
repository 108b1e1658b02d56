"""A folder of results that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blindinv.photo.errors import PhotoError

FILES = frozenset({"image.png", "kernel.npy", "kernel.png", "tilt.npy", "tilt.png", "comparison.png", "std.png", "report.json"})


def check_target(folder: Path, files: frozenset[str] = FILES) -> None:
    """Whether results can be put at `folder`: what leads there can be written, and nothing but earlier results is there.

    Args:
        folder: may exist.
        files: names of results.

    Raises:
        PhotoError: it cannot.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise PhotoError(f"{folder}: is not a folder; choose another -o")
    if folder.is_dir() and not {p.name for p in folder.iterdir()} <= files:
        raise PhotoError(f"{folder}: holds files that are not results of blindinv; choose another -o")
    above = folder.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise PhotoError(f"{folder.parent}: cannot be written ({above} is no folder that you may write to); choose another -o")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its name and place when the block ends without an exception."""
    new_parents = _make(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        temporary.mkdir()
        yield temporary
        _swap(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in new_parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise


def _make(folder: Path) -> list[Path]:
    """Make a folder and what leads to it; those that are new, deepest first."""
    new = []
    while not folder.exists():
        new.append(folder)
        folder = folder.parent
    for path in reversed(new):
        path.mkdir(exist_ok=True)
    return new


def _swap(new: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(new, folder)
    except BaseException:
        if old.exists():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
