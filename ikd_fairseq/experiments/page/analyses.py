"""What ``ikd-analyse`` left in a folder: tables and pictures, as they go into the page."""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ...errors import IkdError, check
from ...evaluation.translations import remove_bpe
from ...io.html import png_address

ROWS_SHOWN = 40  # of a table; the rest is in its file

_END = "</s>"  # fairseq's end of sentence, which analyses count among the words
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Picture(NamedTuple):
    """A PNG file, the sentence it is of, if it is of one, and the words of that, "" if they are not known."""

    path: Path
    sentence: int | None
    words: str


class Findings(NamedTuple):
    """What one analysis wrote into a folder."""

    owner: str  # the run, or the folder, that it belongs to
    pictures: list[Picture]  # in the order of their sentences
    table: Path | None  # its tab-separated values, if there are any


Image = tuple[str, tuple[str, int, int]]  # caption, and what data_uri gives
Table = tuple[str, list[str], list[list[str]], list[int]]  # caption, columns, rows, columns of numbers from 0
Shown = tuple[Table | None, list[Image]]


def read_analyses(
    places: Iterable[tuple[Path, str]], summaries: Mapping[str, str]
) -> dict[str, tuple[str, list[Shown]]]:
    """Every analysis that left something, by name: its summary, and what each folder has of it.

    Args:
        places: folders, and the run or folder that they belong to.
        summaries: by the name of every analysis, in this order, what it shows.

    Raises:
        IkdError: a file cannot be read.
    """
    found = [find_analyses(folder, owner, summaries) for folder, owner in places]
    shown = {name: [_shown(name, one) for own in found for one in own.get(name, [])] for name in summaries}
    return {name: (summaries[name], every) for name, every in shown.items() if every}


def _shown(name: str, findings: Findings) -> Shown:
    title = f"{findings.owner}: {name}"
    images = []
    for picture in findings.pictures:
        which = "" if picture.sentence is None else f", sentence {picture.sentence}"
        which += f", “{picture.words}”" if picture.words else ""
        images.append((title + which, data_uri(picture.path)))
    if findings.table is None:
        return None, images
    columns, rows = read_table(findings.table)
    right = [place for place in range(1, len(columns)) if all(_is_number(row[place]) for row in rows)]
    if len(rows) > ROWS_SHOWN:
        title += f", the first {ROWS_SHOWN} of {len(rows):,} rows of {findings.table.name}"
    return (title, columns, rows[:ROWS_SHOWN], right), images


def find_analyses(folder: Path, owner: str, analyses: Iterable[str]) -> dict[str, list[Findings]]:
    """What there is of *analyses* in *folder* and in the folders right below it.

    Files are known by their names: ``NAME.png``, ``NAME.images.png``, ``NAME.SENTENCE.png`` and ``NAME.tsv``.
    """
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found: dict[str, list[Findings]] = {}
    for name in analyses:
        for place in places:
            pictures = []
            for path in place.glob(f"{name}*.png"):
                if match := re.fullmatch(rf"{re.escape(name)}(?:\.(\d+)|\.images)?\.png", path.name):
                    sentence = None if match[1] is None else int(match[1])
                    pictures.append(Picture(path, sentence, _words(place / f"{name}.json", sentence)))
            pictures.sort(key=lambda picture: -1 if picture.sentence is None else picture.sentence)
            table = place / f"{name}.tsv"
            if pictures or table.is_file():
                findings = Findings(owner, pictures, table if table.is_file() else None)
                found.setdefault(name, []).append(findings)
    return found


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of tab-separated values.

    Raises :class:`IkdError` if the file cannot be read, is empty, or its rows are not as long as its head.
    """
    try:
        head, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise IkdError(f"{path} cannot be read ({error})") from error
    check(all(len(row) == len(head) for row in rows), f"{path} is no table: run ikd-analyse again")
    return head, rows


def data_uri(path: Path) -> tuple[str, int, int]:
    """A PNG file as a ``data:`` address, its width and height in pixels.

    Raises :class:`IkdError` if the file cannot be read or is no PNG.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error
    check(content.startswith(_SIGNATURE) and len(content) >= 24, f"{path} is no PNG: run ikd-analyse again")
    width, height = struct.unpack(">II", content[16:24])
    return png_address(content), width, height


def _words(path: Path, sentence: int | None) -> str:
    """The words of a sentence by the JSON file that some analyses write beside their pictures."""
    if sentence is None or not path.is_file():
        return ""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["sentences"]
        words = next(entry["words"] for entry in entries if entry["sentence"] == sentence)
        return remove_bpe(" ".join(word for word in words if word != _END))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
