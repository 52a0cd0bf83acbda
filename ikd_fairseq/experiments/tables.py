"""Every table over runs: a layout says what stands in it, records what its figures are.

A layout is an entry of :data:`LAYOUTS`: Table 1 of Peng et al. 2022 is "systems", Tables 2, 3 and 5 are
"variants", Table 6 is "texts", and Table 1 of Kim and Rush 2016 "distillation".
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import check
from .budget import check_budget, is_finished, on_every_text, test_sets
from .columns import KINDS, ORIGINAL, TEACHER, View
from .comparison import Systems, group_systems
from .notes import budget_notes, figure_notes, text_notes, unfinished_note
from .record import ALL, WITH_IMAGE, Group, Record
from .systems import BASELINE, SYSTEMS, System, in_order
from .table import Cell, Column, Row, Table

logger = logging.getLogger(__name__)

PUBLISHED = Path(__file__).with_name("published.tsv")
# Published figures are of these whole test sets, and stand beside nothing else.
PUBLISHED_SENTENCES = {"test": 1000, "test1": 1000, "test2": 461}

ON_COSTS = (
    "Parameters: tied ones count once; a frozen CNN (image-must systems) and an image index (retrieval) come "
    "on top. Training time is fairseq's own, validation included, over interruptions. Sentences a second are "
    "by fairseq-generate's own clock on the system's first test set, with the CNN and without reading files."
)
ON_PUBLISHED = (
    "Published figures are quoted, not run here, and are of other images, teachers and budgets. Those called "
    "second-hand have not been checked against the publication. METEOR differs by version and paraphrase "
    "tables: compare it within one run only."
)
ON_DISTILLATION = (
    "p(t = ŷ) is the probability that a system gives to its own greedy translation, mean over sentences; as "
    "teacher, the share of sentences whose greedy translation is what the teacher's beam search finds. "
    "Speeds are in sentences a second, with how many times the teacher's that is."
)

BLOCKS = {"image-must": "Image-must systems", "image-free": "Image-free systems"}


@dataclass(frozen=True)
class Layout:
    """What stands in a table.

    Attributes:
        columns: kinds of them, keys of :data:`.columns.KINDS`.
        groups: of sentences, with the title of the table that each has to itself.
        metrics: keys of those that have columns.
        blocks: whether image-must and image-free systems stand apart.
        published: whether published figures stand below our own.
        texts: whether the runs are on several source texts, and each test set has a table to itself.
        same_budget: whether runs have to share data and budget.
        first: system that comes first, whatever the order of the others.
    """

    columns: tuple[str, ...]
    groups: Mapping[Group, str]
    metrics: tuple[str, ...] = ("bleu",)
    blocks: bool = False
    published: bool = False
    texts: bool = False
    same_budget: bool = True
    first: str = ""


LAYOUTS: dict[str, Layout] = {
    "systems": Layout(
        ("scores", "seeds", "costs"),
        {WITH_IMAGE: "Sentences that have an image: all systems", ALL: "Every sentence: image-free systems"},
        metrics=("bleu", "meteor"),
        blocks=True,
        published=True,
    ),
    "variants": Layout(("plain scores", "average", "seeds"), {ALL: "Variants"}),
    "texts": Layout(
        ("by text", "seeds"),
        {WITH_IMAGE: "with an image", ALL: "in all"},
        metrics=("bleu", "meteor"),
        texts=True,
        first=BASELINE,
    ),
    "distillation": Layout(
        ("distillation",), {ALL: "A teacher's students"}, same_budget=False, first=TEACHER
    ),
}


@dataclass(frozen=True)
class Request:
    """What a table is asked to show.

    Attributes:
        layout: a key of :data:`LAYOUTS`.
        baseline: system that others are compared with.
        systems: titles and order of systems, by name.
        splits: test sets; by default all that the data have.
        seeds: those that were planned, if that is known.
        trials: resamples of the significance test; by default sacreBLEU's 1,000.
    """

    layout: str = "systems"
    baseline: str | None = BASELINE
    systems: Mapping[str, System] = field(default_factory=lambda: SYSTEMS)
    splits: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    trials: int | None = None


def make_tables(runs: Sequence[Record], request: Request) -> tuple[list[Table], list[str]]:
    """The tables of *runs* in a layout, pair by pair, and notes that a reader must know.

    Raises:
        IkdError: no run is finished, or runs do not fit together.
    """
    check(
        request.layout in LAYOUTS,
        f"table {request.layout} is none of: {' '.join(LAYOUTS)}; name one of these layouts",
    )
    layout = LAYOUTS[request.layout]
    finished = [run for run in runs if is_finished(run, request.splits)]
    for run in runs:
        if run not in finished:
            logger.warning("%s is not finished, and left out", run.folder)
    check(
        bool(finished), "no run is finished, so there is no table: translate and score them with translate.sh"
    )
    tables: list[Table] = []
    shown: list[Record] = []
    for pair in sorted({run.pair for run in finished}):
        own = [run for run in finished if run.pair == pair]
        if layout.same_budget:
            check_budget(own, request.systems)
        own = on_every_text(own) if layout.texts else own
        shown += own
        splits = request.splits or tuple(sorted({split for run in own for split in test_sets(run)}))
        for group, title in layout.groups.items():
            tables += _tables_of(own, pair, group, title, splits, layout, request)
    tables = [table for table in tables if table.rows]
    check(bool(tables), f"no finished run has a score of {' '.join(request.splits) or 'a test set'}")
    return tables, _notes(shown, tables, layout, request)


def _notes(runs: Sequence[Record], tables: Sequence[Table], layout: Layout, request: Request) -> list[str]:
    notes = budget_notes(runs, request.systems) if layout.same_budget else []
    notes += unfinished_note(runs, list(request.systems) if request.seeds else [], request.seeds)
    if request.baseline is not None and not any(run.system == request.baseline for run in runs):
        notes.append(f"No finished run of {request.baseline}, so there are no differences from it.")
    notes += figure_notes(runs, layout.metrics, tested="scores" in layout.columns, trials=request.trials)
    if layout.texts:
        notes += text_notes(runs)
    if len(layout.groups) > 1:
        notes.append("Figures of all sentences do not compare with those of sentences with an image.")
    if "costs" in layout.columns:
        notes.append(ON_COSTS)
    if any(row.source for table in tables for row in table.rows):
        notes.append(ON_PUBLISHED)
    if "distillation" in layout.columns:
        notes.append(ON_DISTILLATION)
    return notes


def _tables_of(
    runs: Sequence[Record],
    pair: str,
    group: Group,
    title: str,
    splits: Sequence[str],
    layout: Layout,
    request: Request,
) -> list[Table]:
    if not layout.texts:
        return [_table(group_systems(runs), pair, group, title, splits, layout, request)]
    every = [replace(run, system=f"{run.system} {run.labels.get('text', ORIGINAL)}") for run in runs]
    tables = []
    for split in splits:
        found = {score.sentences for run in runs for score in run.scores.get(split, ())}
        here = [sentences for sentences in found if sentences.group == group]
        whole = len({sentences.fingerprint for sentences in found}) == 1 and len(found) > 1
        if here and not (group == ALL and whole):  # else the same table again
            name = f"{split}: {here[0].count:,} sentences {title}"
            tables.append(_table(group_systems(every), pair, group, name, [split], layout, request))
    return tables


def _table(
    systems: Systems,
    pair: str,
    group: Group,
    title: str,
    splits: Sequence[str],
    layout: Layout,
    request: Request,
) -> Table:
    view = View(systems, splits, group, layout.metrics, request.baseline, request.trials)
    filled = [column for kind in layout.columns for column in KINDS[kind](view)]
    scored = {name for column, cells in filled if column.sentences or column.test_set for name in cells}
    names = in_order({name.rpartition(" ")[0] if layout.texts else name for name in systems}, request.systems)
    rows = []
    for name in sorted(names, key=lambda name: name != layout.first):
        key = f"{name} {ORIGINAL}" if layout.texts else name
        if name in scored:
            cells = {column.heading: cells.get(name, cells.get(key)) for column, cells in filled}
            known = {heading: cell for heading, cell in cells.items() if cell is not None}
            block = "image-must" if systems[key][0].images == "test" else "image-free"
            rows.append(Row(name, title_of(name, request.systems), known, block, len(systems[key])))
    columns = [column for column, _ in filled]
    if layout.published and group == ALL:
        rows += published_rows(pair, columns)
        columns.append(Column("source"))
        if any(row.source for row in rows):
            rows = [replace(row, cells={**row.cells, "source": Cell(_origin(row))}) for row in rows]
    return Table(pair, title, columns, rows, BLOCKS if layout.blocks else {})


def _origin(row: Row) -> str:
    return f"published: {row.source}" if row.source else "this run"


def title_of(name: str, systems: Mapping[str, System]) -> str:
    return systems[name].title if name in systems else name


def published_rows(pair: str, columns: Sequence[Column]) -> list[Row]:
    """Rows of published.tsv for the test sets that have as many sentences as Multi30K's.

    Figures of a metric that has no column are left out.
    """
    places = {
        (column.measure, column.test_set): column.heading
        for column in columns
        if column.sentences is not None and PUBLISHED_SENTENCES.get(column.test_set) == column.sentences
    }
    rows: dict[tuple[str, str, str], Row] = {}
    with open(PUBLISHED, encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream, delimiter="\t"):
            figures = {
                heading: Cell(line[split], line[split])
                for (metric, split), heading in places.items()
                if metric == line["metric"] and line.get(split)
            }
            if line["pair"] == pair and figures:
                key = line["block"], line["system"], line["source"]
                rows.setdefault(key, Row(key[1], key[1], {}, key[0], source=key[2])).cells.update(figures)
    return list(rows.values())
