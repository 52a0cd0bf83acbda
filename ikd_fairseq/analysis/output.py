"""What the analyses write: tables, JSON, text and pictures, each file complete or not at all."""

import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..constants import NO_IMAGE
from ..errors import IkdError, check
from ..io.atomic import write_atomically

if TYPE_CHECKING:
    from ..data.image_pack import ImagePack


def require(*modules: str, who: str = "this analysis", extra: str = "analysis") -> None:
    """Refuses to go on without the packages of *modules*, such as ``sklearn``, which *extra* brings.

    Raises:
        IkdError: naming *who* needs what is not installed.
    """
    for module in modules:
        check(
            importlib.util.find_spec(module) is not None,
            f'{who} needs {module}: pip install "ikd-fairseq[{extra}]"',
        )


def check_folder(output: str) -> None:
    """Refuses, before any work, a folder *output* that cannot be made or written to.

    Raises :class:`IkdError`.
    """
    place = Path(os.path.abspath(output))
    there = next(path for path in (place, *place.parents) if path.exists())
    check(there.is_dir(), f"--output {output}: the folder cannot be made ({there} is a file)")
    check(os.access(there, os.W_OK | os.X_OK), f"--output {output}: {there} cannot be written to")


def check_sentences(
    sentences: Iterable[int], split: str, count: int, pack: "ImagePack | None" = None
) -> None:
    """Refuses *sentences* outside of *split*, which has *count*, or with a *pack*, without an image.

    Raises :class:`IkdError`.
    """
    for sentence in sentences:
        option = f"--sentences {sentence}"
        numbers = f"{count} sentences, numbered 0 to {count - 1}"
        check(0 <= sentence < count, f"{option}: {split} has {numbers}")
        pictured = pack is None or pack.index[sentence] != NO_IMAGE
        check(pictured, f"{option}: this sentence of {split} has no image; name one that has")


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under named columns. Floats are shown with four significant digits."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def as_tsv(self) -> str:
        """The table as tab-separated values, names first."""
        return "".join("\t".join(row) + "\n" for row in self._cells())

    def __str__(self) -> str:
        """The table in columns of equal width, numbers to the right, without a line break at its end."""
        columns = []
        for place, cells in enumerate(zip(*self._cells())):
            width, values = max(map(len, cells)), [row[place] for row in self.rows]
            numeric = values and all(isinstance(value, (int, float)) for value in values)
            columns.append([cell.rjust(width) if numeric else cell.ljust(width) for cell in cells])
        return "\n".join("  ".join(row).rstrip() for row in zip(*columns))

    def _cells(self) -> list[tuple[str, ...]]:
        rows = [
            tuple(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row)
            for row in self.rows
        ]
        return [tuple(self.columns), *rows]


def write_files(folder: str, files: dict[str, Any]) -> None:
    """Writes *files*, content by name, into *folder*, which is made if need be.

    A :class:`Table` becomes tab-separated values, a dictionary JSON, a list a line an item, a figure PNG
    at its own resolution, and text stays as it is.

    Raises:
        IkdError: the folder cannot be made, or a file cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise IkdError(f"--output {folder}: the folder cannot be made ({error.strerror})") from error
    for name, content in files.items():
        with write_atomically(os.path.join(folder, name)) as stream:
            match content:
                case Table():
                    stream.write(content.as_tsv().encode())
                case dict():
                    stream.write(f"{json.dumps(content, ensure_ascii=False)}\n".encode())
                case str():
                    stream.write(content.encode())
                case list():
                    stream.writelines(f"{line}\n".encode() for line in content)
                case _:
                    content.savefig(stream, format="png", dpi=content.dpi)


def new_figure(width: float, height: float, **options: Any):
    """An empty figure of *width* x *height* inches that no window, display or global state belongs to."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)
