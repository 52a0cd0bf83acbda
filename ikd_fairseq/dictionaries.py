"""Dictionaries that fairseq would read as other words than they were written with, told by file and line."""

import io
from collections.abc import Collection

from .errors import IkdError, check


def check_dictionary(path: str, known: Collection[str] = ()) -> None:
    """Refuses a dictionary that fairseq cannot read, or would read as other words than it was written with.

    Args:
        known: words that it must not hold: fairseq's own symbols.

    Raises:
        IkdError: it cannot be read, is empty, or a line is no word and its count, or repeats a word.
    """
    damaged, remedy = f"dictionary {path} is damaged", "prepare the data again, or take the file from a copy"
    try:
        with open(path, "rb") as stream:
            lines = io.StringIO(stream.read().decode("utf-8"), newline=None).readlines()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise IkdError(f"{damaged}: line {line} is no UTF-8; {remedy}") from error
    except OSError as error:
        raise IkdError(f"dictionary {path} cannot be read ({error.strerror}); {remedy}") from error
    check(lines, f"{damaged}: it is empty; {remedy}")
    seen = dict.fromkeys(known, 0)
    for number, text in enumerate(lines, 1):
        entry = text.rstrip().removesuffix(" #fairseq:overwrite")
        word, _, count = entry.rpartition(" ")
        whole = word and count.isascii() and count.isdigit() and " " not in word and "\0" not in word
        check(
            whole, f"{damaged}: line {number}, {text.strip()[:40]!r}, is not one word and its count; {remedy}"
        )
        again = word in seen and entry == text.rstrip()
        before = f"as line {seen.get(word)} has" if seen.get(word) else "which is a symbol of fairseq's"
        check(not again, f"{damaged}: line {number} has the word {word!r}, {before}; {remedy}")
        seen[word] = number
