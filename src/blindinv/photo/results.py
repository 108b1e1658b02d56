"""What every result gets: a folder with pictures and the report, whole or not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from blindinv.photo.errors import PhotoError
from blindinv.photo.folder import replacing
from blindinv.photo.job import Job
from blindinv.photo.pictures import comparison, kernel_picture
from blindinv.photo.report import write_report
from blindinv.photo.write import write_photo


def write_results(
    folder: Path, job: Job, image: Tensor, kernel: Tensor, facts: dict[str, Any], others: Mapping[str, Callable[[Path], object]]
) -> None:
    """Write image.png, kernel.npy, kernel.png, comparison.png, report.json and others at once.

    Args:
        folder: appears complete or not at all; earlier results there are replaced.
        job: whose results they are.
        image: (1, 3, H, W) in [0, 1].
        kernel: (1, 1, n, n).
        facts: of the report.
        others: functions that write a file, by its name.

    Raises:
        PhotoError: the folder cannot be written.
    """

    def results(new: Path) -> None:
        write_photo(new / "image.png", image, job.photo)
        np.save(new / "kernel.npy", kernel[0, 0].numpy())
        kernel_picture(kernel).save(new / "kernel.png")
        comparison(job.photo.pixels, image, kernel).save(new / "comparison.png")
        for name, save in others.items():
            save(new / name)

    write_folder(folder, results, facts)


def write_folder(folder: Path, results: Callable[[Path], None], facts: dict[str, Any]) -> None:
    """Results and report.json, all or nothing.

    Args:
        folder: appears complete or not at all; earlier results there are replaced.
        results: writes into the folder that it is given.
        facts: of the report.

    Raises:
        PhotoError: the folder cannot be written.
    """
    try:
        with replacing(folder) as new:
            results(new)
            write_report(new / "report.json", facts)
    except OSError as error:
        raise PhotoError(f"{folder}: cannot be written ({error.strerror or error}); choose another -o") from error
