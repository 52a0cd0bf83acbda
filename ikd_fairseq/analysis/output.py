"""What the analyses write: tables, JSON and pictures, each complete or not at all."""

import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import IkdError, check
from ..io.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require(module: str) -> None:
    """Refuses to start without the optional package that *module*, such as ``sklearn``, belongs to.

    Raises:
        IkdError: it is not installed.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise IkdError(f'this analysis needs {module}: pip install "ikd-fairseq[analysis]"') from error


def check_folder(output: str) -> None:
    """Makes the folder *output* if need be.

    Raises:
        IkdError: it cannot be made or written to.
    """
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise IkdError(f"--output {output}: the folder cannot be made ({error.strerror})") from error
    check(os.access(output, os.W_OK | os.X_OK), f"--output {output}: the folder cannot be written to")


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under named columns. Floats are shown with four significant digits."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def write(self, path: str) -> None:
        """Writes the table as tab-separated values, names first. Raises :class:`IkdError`."""
        with write_atomically(path, "w", encoding="utf-8") as stream:
            for row in self._cells():
                stream.write("\t".join(row) + "\n")

    def __str__(self) -> str:
        """The table in columns of equal width, numbers to the right, without a line break at its end."""
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells)]
        numeric = [all(isinstance(value, (int, float)) for value in column) for column in zip(*self.rows)]
        numeric = numeric or [False] * len(widths)
        return "\n".join(
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric)
            ).rstrip()
            for row in cells
        )

    def _cells(self) -> list[tuple[str, ...]]:
        rows = [
            tuple(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row)
            for row in self.rows
        ]
        return [tuple(self.columns), *rows]


def write_json(path: str, value: Any) -> None:
    """Writes *value* as JSON. Raises :class:`IkdError`."""
    with write_atomically(path, "w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False)
        stream.write("\n")


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """An empty figure of *width* x *height* inches that no window, display or global state belongs to."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


def save_figure(figure: "Figure", path: str) -> None:
    """Writes *figure* as PNG at its own resolution. Raises :class:`IkdError`."""
    with write_atomically(path) as stream:
        figure.savefig(stream, format="png", dpi=figure.dpi)
