"""A table of figures, and how it is written: Markdown, HTML, and TSV with one number a line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..io.html import render

TSV_COLUMNS = (
    "pair table block system measure test_set sentences mean deviation difference mark seeds source".split()
)


@dataclass(frozen=True)
class Column:
    """A column by its heading; the rest says in TSV what its numbers are."""

    heading: str
    measure: str = ""
    test_set: str = ""  # which they are of
    sentences: int | None = None  # how many the numbers are of, if they are of sentences


@dataclass(frozen=True)
class Cell:
    """What stands in a table, and the numbers in it."""

    text: str
    exact: str = ""  # the mean as TSV has it; empty for text that is no number
    deviation: float | None = None
    difference: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One system, or one variant of it."""

    name: str  # what a person types
    title: str
    cells: dict[str, Cell]  # by heading; what is missing stays empty
    block: str = ""
    seeds: int = 0
    source: str = ""  # of published figures; nothing for our own

    @property
    def origin(self) -> str:
        return f"published: {self.source}" if self.source else "this run"


@dataclass(frozen=True)
class Table:
    """Rows whose figures compare."""

    pair: str
    title: str
    columns: list[Column]
    rows: list[Row]
    blocks: dict[str, str] = field(default_factory=dict)  # titles by the block that rows name

    def lines(self) -> list[tuple[str, list[str]]]:
        """The table as text: ("head" or "block" or "row", its cells), empty columns left out."""
        headings = [column.heading for column in self.columns]
        headings = [heading for heading in headings if any(heading in row.cells for row in self.rows)]
        lines = [("head", ["system", *headings])]
        for block, title in (self.blocks or {"": ""}).items():
            rows = [row for row in self.rows if not self.blocks or row.block == block]
            if title and rows:
                lines.append(("block", [title, *("" for _ in headings)]))
            for row in rows:
                cells = (row.cells.get(heading) for heading in headings)
                lines.append(("row", [row.title, *(cell.text if cell else "" for cell in cells)]))
        return lines


def as_markdown(tables: Iterable[Table], notes: Sequence[str], title: str = "") -> str:
    """The tables under their titles, pair by pair, and what a reader must know of them."""
    lines, pair = [f"# {title}", ""] if title else [], None
    for table in tables:
        if table.pair != pair:
            lines += [f"## {table.pair}", ""] if table.pair else []
            pair = table.pair
        lines += [f"### {table.title}", ""]
        for kind, cells in table.lines():
            cells = [cell.replace("|", "\\|") for cell in cells]
            lines.append(f"| {' | '.join([f'**{cells[0]}**', *cells[1:]] if kind == 'block' else cells)} |")
            if kind == "head":
                lines.append(f"| {' | '.join(['---'] * len(cells))} |")
        lines.append("")
    return "\n".join(lines) + "\n" + "\n\n".join(notes) + "\n"


def as_html(tables: Iterable[Table], notes: Sequence[str], title: str = "") -> str:
    """The same as a part of a page: no style, nothing from outside, text escaped."""
    templates = Path(__file__).with_name("page") / "templates"
    return render("tables.html.j2", templates, tables=tables, notes=notes, title=title)


def as_tsv(tables: Iterable[Table]) -> str:
    """Every number of the tables, one a line, under :data:`TSV_COLUMNS`."""
    lines = [TSV_COLUMNS]
    for table in tables:
        for row in table.rows:
            for column in table.columns:
                cell = row.cells.get(column.heading)
                if cell and cell.exact:
                    sentences = "" if column.sentences is None else str(column.sentences)
                    measured = [column.measure or column.heading, column.test_set, sentences, cell.exact]
                    further = ["" if x is None else f"{x:.4f}" for x in (cell.deviation, cell.difference)]
                    place = [table.pair, table.title, row.block, row.title]
                    lines.append([*place, *measured, *further, cell.mark, str(row.seeds or ""), row.origin])
    return "".join("\t".join(line) + "\n" for line in lines)
