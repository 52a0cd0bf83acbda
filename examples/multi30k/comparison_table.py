"""The table of compare.sh, in Markdown and TSV, laid out as Table 1 of Peng et al. 2022.

    python examples/multi30k/comparison_table.py RUNS en-de=data/en-de en-fr=data/en-fr

There are two tables for a pair, and figures of one do not compare with those of the other: all systems on the
sentences that have an image, and image-free systems on every sentence, with published figures beside them. An
image-must system enters the second where every sentence of a test set has an image.
"""

import argparse
import csv
import json
import logging
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Union

from finished_run import COSTS, Run, Split, costs_of, find_runs, read_test_sets, read_translations

from ikd_fairseq.evaluation.metrics import compute_scores, make_scorers
from ikd_fairseq.errors import check, command
from ikd_fairseq.evaluation.significance import TESTS, Outcome, compare_runs
from ikd_fairseq.io.atomic import write_atomically
from ikd_fairseq.io.progress import set_up_logging

BASELINE = "text"
TITLES = {  # system -> its name in the table, in the order of its block; others follow under their own names
    "image-must": "Multimodal self-attention (Yao and Wan 2020)",
    "gated-fusion": "Gated Fusion (Wu et al. 2021)",
    "doubly-attentive": "Doubly-attentive decoder (Calixto et al. 2017)",
    "selective-attention": "Selective attention (Li et al. 2022, ACL)",
    BASELINE: "Transformer (Vaswani et al. 2017)",
    "imagination": "Imagination (Elliott and Kádár 2017)",
    "retrieval-topic": "UVR-NMT (Zhang et al. 2020)",
    "retrieval-dense": "RMMT (Wu et al. 2021)",
    "hallucination": "Hallucination (after Li et al. 2022, CVPR)",
    "ikd": "IKD-MMT (Peng et al. 2022)",
}
BLOCKS = {"image-must": "Image-must systems", "image-free": "Image-free systems"}

PUBLISHED = Path(__file__).with_name("published.tsv")
# Published figures are of these whole test sets, and stand beside nothing else.
PUBLISHED_SENTENCES = {"test": 1000, "test1": 1000, "test2": 461}

TSV_COLUMNS = "pair table block system measure test_set sentences mean deviation mark seeds source".split()

Column = tuple[str, str]  # metric and test set
Figure = Union[Outcome, str]  # ours, or a published one as it stands there


class Row(NamedTuple):
    """A system of one table.

    Attributes:
        block: a key of :data:`BLOCKS`.
        costs: by column of :data:`~finished_run.COSTS`.
        source: of published figures; nothing for our own.
    """

    block: str
    title: str
    figures: dict[Column, Figure]
    costs: dict[str, float]
    source: str = ""

    @property
    def seeds(self) -> str:
        return "" if self.source else str(len(next(iter(self.figures.values())).scores))

    @property
    def origin(self) -> str:
        return f"published: {self.source}" if self.source else "this run"


class Table(NamedTuple):
    """Rows whose figures compare, and how many sentences of each test set they are of."""

    title: str
    sizes: dict[str, int]
    rows: list[Row]


# ---- figures -----------------------------------------------------------------------------------------------


def bleu_outcomes(
    texts: dict[tuple[str, int], list[str]], references: Sequence[str], sentences: Sequence[int]
) -> dict[str, Outcome]:
    """BLEU by system on some *sentences*, tested against the baseline, seed by seed.

    A system has no mark where the baseline lacks one of its seeds.

    Args:
        texts: translations of every sentence, by system and seed.
        references: of every sentence.
        sentences: which of them count.
    """
    chosen = [references[i] for i in sentences]
    lines = {key: [text[i] for i in sentences] for key, text in texts.items()}
    systems_of: dict[tuple[int, ...], list[str]] = {}  # by seeds: only equal seeds are compared
    for system in dict.fromkeys(name for name, _ in lines):
        seeds = tuple(seed for name, seed in lines if name == system)
        systems_of.setdefault(seeds, []).append(system)
    outcomes = {}
    for seeds, systems in systems_of.items():
        if all((BASELINE, seed) in lines for seed in seeds):
            others = [system for system in systems if system != BASELINE]
            runs = {name: [lines[name, seed] for seed in seeds] for name in (BASELINE, *others)}
            tested = compare_runs(runs, chosen, make_scorers(metrics=["bleu"]))["bleu"].outcomes
            outcomes.update({system: tested[system] for system in systems})
        else:
            for system in systems:
                scores = [compute_scores(lines[system, seed], chosen, metrics=["bleu"]) for seed in seeds]
                outcomes[system] = Outcome(tuple(score["bleu"]["score"] for score in scores))
    return outcomes


def meteor_outcomes(runs: Iterable[Run], test_set: str) -> dict[str, Outcome]:
    """METEOR by system on a whole test set, where the score files of all its seeds have it."""
    values: dict[str, list] = {}
    for run in runs:
        scores = json.loads((run.folder / f"score-{test_set}.json").read_text(encoding="utf-8"))["scores"]
        values.setdefault(run.system, []).append(scores.get("meteor", {}).get("score"))
    return {system: Outcome(tuple(found)) for system, found in values.items() if None not in found}


def published_rows(pair: str, sizes: dict[str, int]) -> list[Row]:
    """Rows of published.tsv for the test sets that have as many sentences as Multi30K's."""
    whole = [test_set for test_set, size in sizes.items() if PUBLISHED_SENTENCES.get(test_set) == size]
    rows: dict[tuple[str, str, str], Row] = {}
    with open(PUBLISHED, encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream, delimiter="\t"):
            figures = {(line["metric"], test_set): line[test_set] for test_set in whole if line[test_set]}
            if line["pair"] == pair and figures:
                key = line["block"], line["system"], line["source"]
                rows.setdefault(key, Row(key[0], key[1], {}, {}, key[2])).figures.update(figures)
    return list(rows.values())


# ---- tables ------------------------------------------------------------------------------------------------


def build_tables(pair: str, runs: Sequence[Run], test_sets: Sequence[Split]) -> list[Table]:
    """The table of the sentences that have an image, if there are any, and that of every sentence."""
    pictured: dict[Column, dict[str, Outcome]] = {}
    every: dict[Column, dict[str, Outcome]] = {}
    for test_set in test_sets:
        name, references = test_set.name, test_set.references
        texts = {
            (run.system, run.seed): read_translations(run, test_set)
            for run in runs
            if test_set in run.translated(test_sets)
        }
        if test_set.pictured:
            pictured["BLEU", name] = bleu_outcomes(texts, references, test_set.pictured)
        whole = len(test_set.pictured) == len(references)
        scored = [run for run in runs if whole or not run.needs_images]
        texts = {(run.system, run.seed): texts[run.system, run.seed] for run in scored}
        every["BLEU", name] = bleu_outcomes(texts, references, range(len(references)))
        every["METEOR", name] = meteor_outcomes(scored, name)

    by_system: dict[str, list[Run]] = {}
    for run in runs:
        by_system.setdefault(run.system, []).append(run)
    costs = {system: costs_of(by_system[system], test_sets) for system in in_order(by_system)}

    def rows(columns: dict[Column, dict[str, Outcome]]) -> list[Row]:
        found = []
        for system in costs:
            figures = {column: by_name[system] for column, by_name in columns.items() if system in by_name}
            if figures:
                block = "image-must" if by_system[system][0].needs_images else "image-free"
                found.append(Row(block, TITLES.get(system, system), figures, costs[system]))
        return found

    tables = []
    if pictured:
        sizes = {test_set.name: len(test_set.pictured) for test_set in test_sets if test_set.pictured}
        tables.append(Table("Sentences that have an image: all systems", sizes, rows(pictured)))
    sizes = {test_set.name: len(test_set.references) for test_set in test_sets}
    everything = rows(every) + published_rows(pair, sizes)
    tables.append(Table("Every sentence: image-free systems", sizes, everything))
    return tables


def in_order(systems: Collection[str]) -> list[str]:
    """*systems* as in :data:`TITLES`, others behind them by name."""
    return [system for system in TITLES if system in systems] + sorted(set(systems) - TITLES.keys())


def write_both(folder: Path, stem: str, text: str, rows: Iterable[Sequence[str]]) -> None:
    """Writes STEM.md, which holds *text*, and STEM.tsv, which holds *rows*, into *folder*."""
    table = "".join("\t".join(row) + "\n" for row in rows)
    for name, content in ((f"{stem}.md", text), (f"{stem}.tsv", table)):
        with write_atomically(folder / name, "w", encoding="utf-8") as stream:
            stream.write(content)


def parts_of(figure: Figure) -> tuple[str, str, str]:
    """Mean, deviation (if there are several seeds) and mark, as text."""
    if isinstance(figure, str):
        return figure, "", ""
    deviation = "" if figure.deviation is None else f"{figure.deviation:.2f}"
    return f"{figure.mean:.2f}", deviation, figure.mark


def cell(figure: Figure) -> str:
    """E.g. ``41.28 ± 0.30†``."""
    mean, deviation, mark = parts_of(figure)
    return mean + (f" ± {deviation}" if deviation else "") + mark


def markdown(table: Table) -> list[str]:
    """The table under its title, block by block, as lines of Markdown."""
    own = (row for row in table.rows if not row.source)
    metrics = list(dict.fromkeys(metric for row in own for metric, _ in row.figures))
    columns = [(metric, test_set) for metric in metrics for test_set in table.sizes]
    sources = ["source"] if any(row.source for row in table.rows) else []
    scores = [f"{metric} {test_set} ({table.sizes[test_set]:,})" for metric, test_set in columns]
    header = ["system", *scores, "seeds", *COSTS, *sources]
    lines = [header, ["---"] * len(header)]
    for block, title in BLOCKS.items():
        rows = [row for row in table.rows if row.block == block]
        if rows:
            lines.append([f"**{title}**"] + [""] * (len(header) - 1))
        for row in rows:
            costs = [write(row.costs[name]) if name in row.costs else "" for name, write in COSTS.items()]
            figures = [cell(row.figures.get(column, "")) for column in columns]
            lines.append([row.title, *figures, row.seeds, *costs] + [row.origin for _ in sources])
    return [f"### {table.title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]


def tsv(pair: str, table: Table) -> list[list[str]]:
    """One line a number, as :data:`TSV_COLUMNS`."""
    lines = []
    for row in table.rows:
        start = [pair, table.title, row.block, row.title]
        for (metric, test_set), figure in row.figures.items():
            numbers = [str(table.sizes[test_set]), *parts_of(figure)]
            lines.append([*start, metric, test_set, *numbers, row.seeds, row.origin])
        for name, value in row.costs.items():
            lines.append([*start, name, "", "", f"{value:.10g}", "", "", row.seeds, row.origin])
    return lines


def protocol(runs: Sequence[Run]) -> list[str]:
    """Budget and data of the runs, and the options of single systems, as lines of Markdown."""
    settings = runs[0].settings
    options = f", `{settings['options']}`" if settings["options"] else ""
    lines = [
        f"At most {settings['updates']} updates, mean of the last {settings['epochs averaged']} epochs (of "
        f"all if there were fewer), CNN {settings['CNN']}{options}. Data: {settings['data']}.",
        "",
    ]
    for system, own in dict.fromkeys((run.system, run.settings["own options"]) for run in runs):
        lines += [f"{TITLES.get(system, system)}: `{own}`.", ""] if own else []
    return lines


NOTES = f"""\
BLEU is tokenised and lower-cased, as that of ikd-score, mean ± standard deviation (of the sample) over seeds.
†/‡: for every seed, differs from the Transformer of that seed with p < 0.05/0.01, better or worse, always in
the same direction (sacreBLEU's paired bootstrap, {TESTS["bootstrap"].trials:,} resamples).

The two tables of a pair are of different sentences: their figures do not compare.

Published figures are quoted, not run here, and are of other images, teachers and budgets. Those called
second-hand have not been checked against the publication. METEOR differs by version and paraphrase tables:
compare it within one run only.

Parameters: tied ones count once; a frozen CNN (image-must systems) and an image index (retrieval) come on
top. Training time is until the last averaged epoch was saved, validation included. Sentences a second are
those of fairseq-generate's own clock on the system's first test set, with the CNN and without reading files.
"""


def write_tables(runs_folder: Path, data_of: dict[str, Path]) -> str:
    """Writes RUNS/table.md and RUNS/table.tsv.

    Args:
        runs_folder: RUNS.
        data_of: the data folder of each pair.

    Returns:
        The Markdown.

    Raises:
        IkdError: runs or data are missing, or do not fit together.
    """
    lines: list[str] = []
    numbers = [TSV_COLUMNS]
    for pair, data in data_of.items():
        test_sets = read_test_sets(data, pair)
        runs = find_runs(runs_folder / pair, test_sets)
        lines += [f"## {pair}", "", *protocol(runs)]
        for table in build_tables(pair, runs, test_sets):
            lines += markdown(table)
            numbers += tsv(pair, table)
    text = "\n".join(lines) + "\n" + NOTES
    write_both(runs_folder, "table", text, numbers)
    return text


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUNS", type=Path, help="folder that compare.sh filled")
    parser.add_argument("pairs", nargs="+", metavar="PAIR=DATA", help="a pair and the data of its runs")
    return parser


@command
def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    set_up_logging()
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    data_of = {}
    for text in args.pairs:
        pair, _, data = text.partition("=")
        check(
            re.fullmatch(r"[^-/]+-[^-/]+", pair) is not None and data != "",
            f"{text}: give PAIR=DATA, such as en-de=data/en-de",
        )
        data_of[pair] = Path(data)
    sys.stdout.write(write_tables(args.runs, data_of))


if __name__ == "__main__":
    sys.exit(main())
