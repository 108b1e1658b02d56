"""What can be wrong with a file a person gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PhotoError(ValueError):
    """A file or a setting that cannot be used; the message is one line that says what is wrong and what would be right."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def as_photo_error(*kinds: type[Exception], photo: Path | None = None) -> Iterator[None]:
    """Raise exceptions of these kinds as a `PhotoError` with the first line of their message, after the name of the photo."""
    try:
        yield
    except kinds as error:
        raise PhotoError(first_line(error) if photo is None else f"{photo}: {first_line(error)}") from error
