"""What can be wrong with a file a person gives."""


class PhotoError(ValueError):
    """A file or a setting that cannot be used; the message is one line that says what is wrong and what would be right."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
