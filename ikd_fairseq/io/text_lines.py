"""Lines of UTF-8 text files, one sentence each."""

from collections.abc import Iterator

from ..errors import IkdError, check, check_file


def numbered_lines(path: str) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file, numbered from 1. Only a newline ends one: text may hold U+2028 and the like.

    Raises:
        IkdError: the file cannot be read or is not UTF-8.
    """
    check_file(path)
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    yield number, raw.rstrip(b"\r\n").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise IkdError(f"{path}, line {number}: not UTF-8; convert the file") from error
    except OSError as error:
        raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 text file. Raises as :func:`numbered_lines`, and if the file is empty."""
    lines = [line for _, line in numbered_lines(path)]
    check(lines, f"{path} is empty")
    return lines
