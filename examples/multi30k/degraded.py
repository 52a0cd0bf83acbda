"""The table of degraded.sh, in Markdown and TSV, laid out as Table 6 of Peng et al. 2022.

    python examples/multi30k/degraded.py RUNS data/en-de --pair en-de

reads RUNS/TEXT/PAIR/SYSTEM-seedN for the three texts and writes RUNS/degraded.md and RUNS/degraded.tsv. For
every test set there is a table of all its sentences, and one of those that have an image: an image-must
system is in the second alone, unless they are the same. Scores are computed here from the translations.
"""

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from comparison_table import BASELINE, TITLES, in_order, write_both
from finished_run import Run, Split, find_runs, read_test_sets, read_translations

from ikd_fairseq.evaluation.metrics import compute_scores
from ikd_fairseq.errors import IkdError, check, command
from ikd_fairseq.evaluation.meteor import MODULES, Meteor
from ikd_fairseq.io.progress import progress, set_up_logging

logger = logging.getLogger(__name__)

ORIGINAL = "original"
TEXTS = {ORIGINAL: "D", "colour": "D_C", "entity": "D_E"}  # as the paper calls them

TSV_COLUMNS = "test_set sentences with_image system metric text mean deviation difference seeds".split()

Key = tuple[str, str]  # metric and text


class Group(NamedTuple):
    """Sentences of a test set that are scored together, counted from 0."""

    test_set: Split
    sentences: Sequence[int]
    pictured: bool  # whether they all have an image

    @property
    def title(self) -> str:
        kind = "with an image" if self.pictured else "in all"
        return f"{self.test_set.name}: {len(self.sentences):,} sentences {kind}"


class Table(NamedTuple):
    """Scores of one group: by system, then by metric and text, one a seed."""

    group: Group
    scores: dict[str, dict[Key, list[float]]]


def groups_of(test_set: Split) -> list[Group]:
    """The sentences that have an image, if there are any, and all, if these are more."""
    count = len(test_set.references)
    groups = [Group(test_set, test_set.pictured, True)] if test_set.pictured else []
    if len(test_set.pictured) < count:
        groups.append(Group(test_set, range(count), False))
    return groups


def complete_runs(folder: Path, pair: str, test_sets: Sequence[Split]) -> dict[str, list[Run]]:
    """By text, the runs whose system and seed are finished for all texts; of others the log tells.

    Raises:
        IkdError: there are none, or runs on the same text have settings that differ.
    """
    runs = {text: find_runs(folder / text / pair, test_sets) for text in TEXTS}
    finished = [{(run.system, run.seed) for run in found} for found in runs.values()]
    everywhere = set.intersection(*finished)
    for system, seed in sorted(set.union(*finished) - everywhere):
        logger.warning("%s-seed%d is not finished on every text, and left out", system, seed)
    check(bool(everywhere), f"{folder} holds no run that is finished on {', '.join(TEXTS)} alike")
    return {
        text: [run for run in found if (run.system, run.seed) in everywhere] for text, found in runs.items()
    }


def find_meteor(language: str) -> tuple[Meteor | None, str]:
    """METEOR if it is there, else why not."""
    if language not in MODULES:
        return None, f"METEOR does not know {language}"
    try:
        return Meteor.find(language, "tokenised"), ""
    except IkdError as error:
        return None, str(error)


def build_tables(
    runs: dict[str, list[Run]],
    test_sets: Sequence[Split],
    meteor: Meteor | None,
    signatures: dict[str, str],
) -> list[Table]:
    """A table for every group of every test set that a run translated.

    Args:
        runs: by text, the same systems and seeds.
        meteor: scores beside BLEU where given.
        signatures: is filled, by metric.
    """
    tables = [Table(group, {}) for test_set in test_sets for group in groups_of(test_set)]
    jobs = [
        (text, run, table)
        for text, found in runs.items()
        for run in found
        for table in tables
        if table.group.pictured or not run.needs_images
    ]
    for text, run, (group, scores) in progress(jobs, desc="scoring", unit="run"):
        lines = read_translations(run, group.test_set)
        hypotheses = [lines[i] for i in group.sentences]
        references = [group.test_set.references[i] for i in group.sentences]
        found = list(compute_scores(hypotheses, references, metrics=["bleu"]).values())
        if meteor:
            found.append(meteor.score(hypotheses, references))
        for score in found:
            signatures[score["name"]] = score["signature"]
            own = scores.setdefault(run.system, {})
            own.setdefault((score["name"], text), []).append(score["score"])
    return [table for table in tables if table.scores]


def numbers_of(scores: dict[Key, list[float]], metric: str, text: str) -> tuple[float, float | None, float]:
    """Mean over seeds, its deviation (of the sample) if there are several, and the difference from D."""
    own = scores[metric, text]
    mean = statistics.mean(own)
    deviation = statistics.stdev(own) if len(own) > 1 else None
    return mean, deviation, mean - statistics.mean(scores[metric, ORIGINAL])


def cell(scores: dict[Key, list[float]], metric: str, text: str) -> str:
    """E.g. ``50.28 ± 0.10 (-2.22)``."""
    mean, deviation, difference = numbers_of(scores, metric, text)
    written = f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
    return written if text == ORIGINAL else f"{written} ({difference:+.2f})"


def markdown(table: Table, metrics: Sequence[str]) -> list[str]:
    """The table under its title, as lines of Markdown."""
    keys = [(metric, text) for metric in metrics for text in TEXTS]
    lines = [["system", *(f"{metric} {TEXTS[text]}" for metric, text in keys), "seeds"]]
    lines.append(["---"] * len(lines[0]))
    for system, scores in _in_order(table.scores):
        seeds = str(len(scores[keys[0]]))
        lines.append([TITLES.get(system, system), *(cell(scores, *key) for key in keys), seeds])
    return [f"### {table.group.title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]


def tsv(table: Table) -> list[list[str]]:
    """One line a number, as :data:`TSV_COLUMNS`."""
    group, lines = table.group, []
    for system, scores in _in_order(table.scores):
        for (metric, text), own in scores.items():
            mean, deviation, difference = numbers_of(scores, metric, text)
            numbers = ["" if number is None else f"{number:.4f}" for number in (mean, deviation, difference)]
            where = [group.test_set.name, str(len(group.sentences)), "only" if group.pictured else "all"]
            lines.append([*where, system, metric, text, *numbers, str(len(own))])
    return lines


def _in_order(scores: dict[str, dict[Key, list[float]]]) -> list[tuple[str, dict[Key, list[float]]]]:
    """The text-only Transformer first, as in the paper's table, then as in that of compare.sh."""
    ordered = sorted(in_order(scores), key=lambda system: system != BASELINE)
    return [(system, scores[system]) for system in ordered]


def shares(folder: Path) -> list[str]:
    """What share of the words was masked, a sentence for each kind."""
    lines = []
    for text in TEXTS:
        path = folder / f"text-{text}" / "degrade.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            splits = ", ".join(f"{split['split']} {split['percent']:.2f} %" for split in found["splits"])
            lines.append(f"{TEXTS[text]}: {text} words masked by {found['token']}: {splits}.")
    return lines


def write_table(folder: Path, data: Path, pair: str) -> str:
    """Writes ``degraded.md`` and ``degraded.tsv`` into *folder* and returns the former.

    Raises:
        IkdError: runs or data are missing, or do not fit together.
    """
    test_sets = read_test_sets(data, pair)
    runs = complete_runs(folder, pair, test_sets)
    meteor, why_not = find_meteor(pair.split("-")[1])
    signatures: dict[str, str] = {}
    tables = build_tables(runs, test_sets, meteor, signatures)
    lines = [line for table in tables for line in markdown(table, list(signatures))]
    settings = runs[ORIGINAL][0].settings
    notes = [
        f"At most {settings['updates']} updates, mean of the last {settings['epochs averaged']} epochs (of "
        "all if there were fewer).",
        "In brackets the difference from the same system on the original text, D; words are masked in "
        "training and test alike; ± is the standard deviation of the sample over seeds.",
        *shares(folder),
        *(f"{name}: `{signature}`." for name, signature in signatures.items()),
        *([f"No METEOR: {why_not}."] if why_not else []),
        "Figures of all sentences do not compare with those of sentences with an image.",
    ]
    text = "\n".join([*lines, *notes]) + "\n"
    rows = [TSV_COLUMNS, *(row for table in tables for row in tsv(table))]
    write_both(folder, "degraded", text, rows)
    return text


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUNS", type=Path, help="folder that degraded.sh filled")
    parser.add_argument("data", metavar="DATA", type=Path, help="data folder of the original text")
    parser.add_argument("--pair", required=True, help="languages, such as en-de")
    return parser


@command
def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    set_up_logging()
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    sys.stdout.write(write_table(args.runs, args.data, args.pair))


if __name__ == "__main__":
    sys.exit(main())
