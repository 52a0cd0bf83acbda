"""A table of figures, and how it is written: Markdown, HTML, and TSV with one number a line."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

TSV_COLUMNS = (
    "pair table block system measure test_set sentences mean deviation difference mark seeds source".split()
)


@dataclass(frozen=True)
class Column:
    """A column by its heading; the rest says in TSV what its numbers are.

    Attributes:
        sentences: how many the numbers are of, if they are of sentences.
        test_set: which they are of.
    """

    heading: str
    measure: str = ""
    test_set: str = ""
    sentences: int | None = None


@dataclass(frozen=True)
class Cell:
    """What stands in a table, and the numbers in it.

    Attributes:
        exact: the mean as TSV has it; empty for text that is no number.
    """

    text: str
    exact: str = ""
    deviation: float | None = None
    difference: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One system, or one variant of it.

    Attributes:
        name: what a person types.
        cells: by heading; what is missing stays empty.
        source: of published figures; nothing for our own.
    """

    name: str
    title: str
    cells: dict[str, Cell]
    block: str = ""
    seeds: int = 0
    source: str = ""


@dataclass(frozen=True)
class Table:
    """Rows whose figures compare.

    Attributes:
        blocks: titles of groups of rows, by the block that rows name.
        first: heading over the rows' titles.
    """

    pair: str
    title: str
    columns: list[Column]
    rows: list[Row]
    blocks: dict[str, str] = field(default_factory=dict)
    first: str = "system"

    def lines(self) -> list[tuple[str, list[str]]]:
        """The table as text: ("head" or "block" or "row", its cells), empty columns left out."""
        columns = [column for column in self.columns if any(column.heading in row.cells for row in self.rows)]
        lines = [("head", [self.first, *(column.heading for column in columns)])]
        for block in self.blocks or {"": ""}:
            rows = [row for row in self.rows if not self.blocks or row.block == block]
            if self.blocks and rows:
                lines.append(("block", [self.blocks[block], *("" for _ in columns)]))
            for row in rows:
                cells = (row.cells.get(column.heading) for column in columns)
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
    parts = [f"<h1>{html.escape(title)}</h1>"] if title else []
    for table in tables:
        name = f"{table.pair}: {table.title}" if table.pair else table.title
        parts += ["<table>", f"<caption>{html.escape(name)}</caption>"]
        for kind, cells in table.lines():
            tags = ["th" if kind != "row" else "td"] * len(cells)
            row = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for tag, cell in zip(tags, cells))
            parts.append(f"<tr>{row}</tr>")
        parts.append("</table>")
    parts += [f"<p>{html.escape(note)}</p>" for note in notes if note]
    return "\n".join(parts) + "\n"


def as_tsv(tables: Iterable[Table]) -> str:
    """Every number of the tables, one a line, under :data:`TSV_COLUMNS`."""
    lines = [list(TSV_COLUMNS)]
    for table in tables:
        columns = {column.heading: column for column in table.columns}
        for row in table.rows:
            for heading, cell in row.cells.items():
                column = columns.get(heading)
                if column is None or not cell.exact:
                    continue
                sentences = "" if column.sentences is None else str(column.sentences)
                measured = [column.measure or heading, column.test_set, sentences, cell.exact]
                further = ["" if x is None else f"{x:.4f}" for x in (cell.deviation, cell.difference)]
                seeds = str(row.seeds) if row.seeds else ""
                origin = f"published: {row.source}" if row.source else "this run"
                lines.append(
                    [
                        table.pair,
                        table.title,
                        row.block,
                        row.title,
                        *measured,
                        *further,
                        cell.mark,
                        seeds,
                        origin,
                    ]
                )
    return "".join("\t".join(line) + "\n" for line in lines)
