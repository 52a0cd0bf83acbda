"""Every table over runs: a layout says what stands in it, records what its figures are.

A layout is an entry of :data:`LAYOUTS`: Table 1 of Peng et al. 2022 is "systems", Tables 2, 3 and 5 are
"variants", Table 6 is "texts", and Table 1 of Kim and Rush 2016 "distillation".
"""

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import check
from . import columns
from .budget import check_budget, is_finished, on_every_text, only_planned, test_sets, text_of
from .columns import Filled, View
from .comparison import group_systems
from .notes import budget_notes, figure_notes, method_notes, pair_notes, text_notes, unfinished_note
from .plan import ORIGINAL, TEACHER, Place
from .record import ALL, WITH_IMAGE, Group, Record
from .systems import BASELINE, SYSTEMS, System, in_order
from .table import Cell, Column, Row, Table

logger = logging.getLogger(__name__)

PUBLISHED = Path(__file__).with_name("published.tsv")
# Published figures are of these whole test sets, and stand beside nothing else.
PUBLISHED_SENTENCES = {"test": 1000, "test1": 1000, "test2": 461}

ON_GROUPS = "Figures of all sentences do not compare with those of sentences with an image."
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
    """What stands in a table."""

    columns: tuple[Callable[[View], Iterable[Filled]], ...]  # what fills them
    groups: Mapping[Group, str]  # of sentences, with the title of the table that each has to itself
    metrics: tuple[str, ...] = ("bleu",)  # keys of those that have columns
    tested: bool = False  # whether differences are tested for significance
    blocks: bool = False  # whether image-must and image-free systems stand apart
    published: bool = False  # whether published figures stand below our own
    texts: bool = False  # whether runs are on several source texts, and each test set has its own table
    same_budget: bool = True  # whether runs have to share data and budget
    first: str = ""  # system that comes first, whatever the order of the others
    notes: tuple[str, ...] = ()  # what a reader must know of any such table


LAYOUTS: dict[str, Layout] = {
    "systems": Layout(
        (columns.scores, columns.seeds, columns.costs),
        {WITH_IMAGE: "Sentences that have an image: all systems", ALL: "Every sentence: image-free systems"},
        metrics=("bleu", "meteor"),
        tested=True,
        blocks=True,
        published=True,
        notes=(ON_GROUPS, ON_COSTS),
    ),
    "variants": Layout(
        (columns.scores, columns.average, columns.seeds), {ALL: "Variants"}, metrics=("bleu", "meteor")
    ),
    "texts": Layout(
        (columns.by_text, columns.seeds),
        {WITH_IMAGE: "with an image", ALL: "in all"},
        metrics=("bleu", "meteor"),
        texts=True,
        first=BASELINE,
        notes=(ON_GROUPS,),
    ),
    "distillation": Layout(
        (columns.distillation,),
        {ALL: "A teacher's students"},
        same_budget=False,
        first=TEACHER,
        notes=(ON_DISTILLATION,),
    ),
}


def make_tables(
    runs: Sequence[Record],
    layout: str = "systems",
    baseline: str | None = BASELINE,
    systems: Mapping[str, System] = SYSTEMS,
    splits: tuple[str, ...] = (),
    planned: Sequence[Place] = (),
    trials: int | None = None,
) -> tuple[list[Table], list[str]]:
    """The tables of *runs* in a layout, pair by pair, and notes that a reader must know.

    Args:
        layout: a key of :data:`LAYOUTS`.
        baseline: system that others are compared with.
        systems: titles and order of systems, by name.
        splits: test sets; by default all that the data have.
        planned: the runs that it is to show; by default all there are.
        trials: resamples of the significance test; by default sacreBLEU's 1,000.

    Raises:
        IkdError: no run is finished, or runs do not fit together.
    """
    check(layout in LAYOUTS, f"table {layout} is none of: {' '.join(LAYOUTS)}; name one of these layouts")
    form = LAYOUTS[layout]
    runs = only_planned(runs, planned) if planned else runs
    finished = [run for run in runs if is_finished(run, splits)]
    for run in runs:
        if run not in finished:
            logger.warning("%s has no scores yet, or not of all test sets, and is left out", run.folder)
    check(
        bool(finished), "no run is finished, so there is no table: translate and score them with translate.sh"
    )
    tables: list[Table] = []
    shown: list[Record] = []
    of_runs: list[str] = []
    pairs = sorted({run.pair for run in finished})
    for pair in pairs:
        own = [run for run in finished if run.pair == pair]
        if form.same_budget:
            check_budget(own, systems)
        own = on_every_text(own) if form.texts else own
        shown += own
        tests = splits or tuple(sorted({split for run in own for split in test_sets(run)}))
        if form.texts:  # on each text a system is one of its own
            own = [replace(run, system=f"{run.system} {text_of(run)}") for run in own]
        every = View(group_systems(own), tests, ALL, form.metrics, baseline, trials if form.tested else 0)
        of_pair = [*method_notes(every.systems), *pair_notes(every.systems, baseline)]
        of_runs += [note if len(pairs) == 1 else f"{pair}: {note}" for note in of_pair]
        for title, view in _views(every, form):
            tables.append(_table(pair, title, view, form, systems))
    tables = [table for table in tables if table.rows]
    check(bool(tables), f"no finished run has a score of {' '.join(splits) or 'a test set'}")
    notes = budget_notes(shown, systems) if form.same_budget else []
    notes += [*unfinished_note(finished, shown, planned), *of_runs]
    if baseline is not None and not any(run.system == baseline for run in shown):
        notes.append(f"No finished run of {baseline}, so there are no differences from it.")
    notes += figure_notes(shown, form.metrics, form.tested, trials)
    notes += [*(text_notes(shown) if form.texts else []), *form.notes]
    quoted = any(row.source for table in tables for row in table.rows)
    return tables, notes + [ON_PUBLISHED] * quoted


def _views(every: View, layout: Layout) -> Iterator[tuple[str, View]]:
    """What each table of one pair shows, by its title."""
    runs = [run for own in every.systems.values() for run in own]
    for group, title in layout.groups.items():
        if not layout.texts:
            yield title, replace(every, group=group)
            continue
        for split in every.splits:
            found = {score.sentences for run in runs for score in run.scores.get(split, ())}
            here = [sentences for sentences in found if sentences.group == group]
            whole = len({sentences.fingerprint for sentences in found}) == 1 and len(found) > 1
            if here and not (group == ALL and whole):  # else the same table again
                name = f"{split}: {here[0].count:,} sentences {title}"
                yield name, replace(every, group=group, splits=[split])


def _table(pair: str, title: str, view: View, layout: Layout, known: Mapping[str, System]) -> Table:
    filled = [column for fill in layout.columns for column in fill(view)]
    headings = [column for column, _ in filled]
    scored = {name for column, cells in filled if column.test_set for name in cells}
    names = {name.rpartition(" ")[0] if layout.texts else name for name in view.systems}
    rows = []
    for name in sorted(in_order(names & scored, known), key=lambda name: name != layout.first):
        key = f"{name} {ORIGINAL}" if layout.texts else name
        places = ((column.heading, cells.get(name, cells.get(key))) for column, cells in filled)
        cells = {heading: cell for heading, cell in places if cell is not None}
        runs = view.systems[key]
        block = "image-must" if runs[0].images == "test" else "image-free"
        rows.append(Row(name, known[name].title if name in known else name, cells, block, len(runs)))
    if layout.published and view.group == ALL and (published := published_rows(pair, headings)):
        headings.append(Column("source"))
        rows += published
        rows = [replace(row, cells={**row.cells, "source": Cell(row.origin)}) for row in rows]
    return Table(pair, title, headings, rows, BLOCKS if layout.blocks else {})


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
