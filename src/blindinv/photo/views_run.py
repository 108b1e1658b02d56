"""The work of `blindinv views` and `blindinv mesh`, from checked pictures to a folder that appears whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from blindinv.photo.results import write_folder
from blindinv.photo.views import Clock, ViewsJob, find_views, views_report, write_views
from blindinv.photo.views_settings import ViewsSettings
from blindinv.priors.view import ViewPrior
from blindinv.views.reconstruct import Stage

Record = Callable[[Stage], Any]


def make_views(
    job: ViewsJob, settings: ViewsSettings, prior: ViewPrior, folder: Path, record: Record | None = None
) -> dict[str, Any]:
    """Find views and cameras and write them at once.

    Args:
        job: what `prepare_views` made.
        settings: of the run.
        prior: what `view_prior_for` loaded.
        folder: appears complete or not at all; earlier results there are replaced.
        record: called after every step.

    Returns:
        the report.

    Raises:
        PhotoError: the prior cannot be used this way, or the folder cannot be written.
    """
    clock = Clock()
    found, rgba = find_views(job, settings, prior, record)
    clock.done("views")
    facts = views_report(job, settings, prior, found, clock.parts)
    write_folder(folder, lambda new: write_views(new, job, found, rgba, found.views), facts)
    return facts
