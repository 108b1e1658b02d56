"""What the commands on photos share: errors in one line, a folder for every photo, all checked before the first is worked on."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer

from blindinv.photo.errors import PhotoError, first_line
from blindinv.photo.folder import check_target

J = TypeVar("J")
M = TypeVar("M")


@contextmanager
def one_line_errors(*kinds: type[Exception], stopped: str = "nothing half-written is left") -> Iterator[None]:
    """Exit code 2 and one line for what the user can put right, 130 for Ctrl-C.

    Args:
        kinds: of exceptions that the user can put right; none given: `PhotoError`.
        stopped: what is said after Ctrl-C.
    """
    expected = kinds or (PhotoError,)
    try:
        yield
    except expected as error:
        typer.echo(f"blindinv: {first_line(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"blindinv: stopped; {stopped}", err=True)
        raise typer.Exit(130) from None


def folders_of(photos: Sequence[Path], out: Path, of_one: Mapping[str, object] | None = None) -> list[Path]:
    """A folder in `out` for every photo, called as the photo without its suffix; all are checked.

    Args:
        photos: of the user.
        out: folder of the folders.
        of_one: values of options that belong to one photo, by option; None where one was not given.

    Raises:
        PhotoError: two photos have one folder, an option of one photo is given with several, or a folder cannot be written.
    """
    folders = [out / photo.stem for photo in photos]
    if len(set(folders)) < len(folders):
        twice = next(f for f in folders if folders.count(f) > 1)
        raise PhotoError(f"two photos would both be written to {twice}; rename one or use two runs with different -o")
    for option, value in (of_one or {}).items():
        if len(photos) > 1 and value is not None:
            raise PhotoError(f"{option} belongs to one photo; give photos one at a time")
    for folder in folders:
        check_target(folder)
    return folders


def quiet_decoders() -> None:
    """What they say of damaged files is said once, by us."""
    for decoder in ("tifffile", "PIL"):
        logging.getLogger(decoder).setLevel(logging.CRITICAL + 1)


def check_all_then_run(
    photos: Sequence[Path],
    folders: Sequence[Path],
    prepare: Callable[[Path], J],
    load: Callable[[], M],
    work: Callable[[J, M, Path], str],
) -> None:
    """Check everything before the first photo is worked on; photos are read again then, so that one is held at a time.

    Args:
        photos: of the user.
        folders: from `folders_of`.
        prepare: reads a photo and what belongs to it; raises `PhotoError` for what cannot be used.
        load: loads the networks, once, when all photos are known to be good.
        work: on what was prepared, with the networks, into a folder; what it returns is printed.
    """
    quiet_decoders()
    for photo in photos:
        prepare(photo)
    networks = load()
    for photo, folder in zip(photos, folders, strict=True):
        typer.echo(work(prepare(photo), networks, folder))


def line(facts: dict[str, Any], folder: Path, json: bool) -> str:
    """A report as one line: of JSON, or of the figures that a reader looks for."""
    if json:
        from json import dumps

        return dumps({"folder": str(folder)} | facts)
    parts = [f"sigma {facts['sigma']:.4f}", f"{facts['boundary']} borders", f"{facts['seconds']:.1f} s"]
    if "after" in facts["figures"]:
        before, after = facts["figures"]["before"], facts["figures"]["after"]
        parts.append(f"PSNR {before['psnr']:.2f} -> {after['psnr']:.2f} dB, SSIM {before['ssim']:.3f} -> {after['ssim']:.3f}")
    if "kernel" in facts["figures"]:
        parts.append(f"kernel MNC {facts['figures']['kernel']['mnc']:.3f}")
    if "tilt_rms_pixels" in facts:
        parts.append(f"tilt {facts['tilt_rms_pixels']:.3f} pixels")
    return f"{folder / 'image.png'}: {'; '.join(parts)}"
