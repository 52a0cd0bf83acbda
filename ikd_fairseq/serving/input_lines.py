"""The sentences that a command is given."""

import sys
from collections.abc import Iterator, Sequence

from ..errors import check_file
from ..io.text_lines import decoded_lines, numbered_lines


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
        for _, line in decoded_lines(sys.stdin.buffer, "standard input"):
            yield line
