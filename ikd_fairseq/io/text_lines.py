"""Lines of UTF-8 text files, one sentence each."""

from collections.abc import Iterable, Iterator

from ..errors import IkdError, check, check_file


def numbered_lines(path: str) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file, see :func:`decoded_lines`.

    Raises:
        IkdError: the file cannot be read or is not UTF-8.
    """
    check_file(path)
    try:
        with open(path, "rb") as stream:
            yield from decoded_lines(stream, path)
    except OSError as error:
        raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error


def decoded_lines(stream: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8, numbered from 1, of a *stream* that messages call *name*.

    Only a newline ends one: text may hold U+2028 and the like. A byte order mark is none of the text.

    Raises:
        IkdError: it is not UTF-8.
    """
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise IkdError(f"{name}, line {number}: not UTF-8; convert it") from error
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 text file. Raises as :func:`numbered_lines`, and if the file is empty."""
    lines = [line for _, line in numbered_lines(path)]
    check(lines, f"{path} is empty")
    return lines
