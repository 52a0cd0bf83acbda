"""The references of a split: where records and analyses find them, the same for both."""

import os
from pathlib import Path

from ..io.locks import StrPath
from ..io.text_lines import read_lines
from .translations import remove_bpe

# Of a data folder: examples/multi30k/prepare.sh leaves the text of the test sets in the first, and that of
# all splits, in subwords, in the second.
_FOLDERS = ("reference", "bpe")


def references_file(data: StrPath, split: str, language: str) -> Path | None:
    """The file with a reference a line of *split*: its text, or else its subwords; None for neither."""
    places = (Path(data, folder, f"{split}.{language}") for folder in _FOLDERS)
    return next(filter(Path.is_file, places), None)


def read_references(path: StrPath) -> list[str]:
    """A reference a line of *path*, tokenised, subwords joined. In text, unlike binarised targets, every word
    is known.

    Raises:
        IkdError: it cannot be read.
    """
    return [remove_bpe(line) for line in read_lines(os.fspath(path))]
