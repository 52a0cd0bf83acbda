"""The sentences that a command is given."""

import sys
from collections.abc import Iterator, Sequence

from ..errors import IkdError, check_file
from ..io.text_lines import numbered_lines


def input_lines(files: Sequence[str]) -> Iterator[str]:
    """The lines of *files*, one after the other; of standard input, as they come, if there are none.

    Raises:
        IkdError: a file cannot be read, or a line is no UTF-8.
    """
    for path in files:
        check_file(path)  # all of them before the first is translated
    for path in files:
        for _, line in numbered_lines(path):
            yield line
    if not files:
        for number, raw in enumerate(sys.stdin.buffer, start=1):
            try:
                yield raw.rstrip(b"\r\n").decode("utf-8")
            except UnicodeDecodeError as error:
                raise IkdError(f"standard input, line {number}: not UTF-8; convert the text") from error
