"""``ikd-report``: one HTML page about finished runs, which needs no network and nothing beside it."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..analysis import SUMMARIES
from ..analysis.cases import (
    DEFAULT_METRIC,
    METRICS,
    Corpus,
    count_wins,
    make_case,
    make_scorer,
    score_sentences,
    select_ends,
)
from ..errors import IkdError, check, command
from ..experiments.page.analysis_section import analysis_section
from ..experiments.page.case_section import Study, case_section, without_cases
from ..experiments.page.curve_section import curve_section
from ..experiments.page.document import Section, render
from ..experiments.page.making_section import making_section
from ..experiments.page.pictures import Findings, find_analyses
from ..experiments.page.runs import Run, Systems, choose_splits, folder_name, group_systems, read_run
from ..experiments.page.score_section import score_section
from ..experiments.page.scores import compare_systems, read_translations
from ..io.checkpoints import check_output, write_atomically
from ..io.progress import set_up_logging

CASES = 4  # at either end

# What there is no table or picture of here: cases have a section of their own, degraded text is for training.
_NOT_SHOWN = ("cases", "degrade")

logger = logging.getLogger(__name__)


def make_report(
    folders: Sequence[Path],
    title: str = "Translation systems compared",
    baseline: str | None = None,
    splits: Sequence[str] | None = None,
    study: str | None = None,
    analyses: Sequence[Path] = (),
    trials: int | None = None,
    called_as: str = "ikd-report",
) -> str:
    """The page about the runs in *folders*.

    Args:
        folders: of runs, each with at least one ``score-SPLIT.json``; ``NAME-seedN`` are runs of one system.
        title: of the page.
        baseline: the system that others are compared with, by default that of the first folder.
        splits: those to show, by default all that are scored.
        study: the system whose translations stand beside the baseline's, by default the first other one.
        analyses: folders of ``ikd-analyse`` beyond those within the runs.
        trials: resamples of the significance test, by default sacreBLEU's 1,000.
        called_as: the command that is named at the foot of the page.

    Raises:
        IkdError: runs that cannot be read or compared.
    """
    runs = [read_run(folder) for folder in folders]
    systems = group_systems(runs, baseline)
    splits = choose_splits(runs, splits)
    for folder in analyses:
        check(folder.is_dir(), f"--analyses {folder} is no folder; give one that ikd-analyse wrote into")
    check(
        study is None or study in list(systems)[1:],
        f"--cases {study}: there is no such system beside the baseline; there are "
        f"{', '.join(list(systems)[1:]) or 'none'}",
    )
    scores = compare_systems(systems, splits, trials)
    return render(
        title,
        systems,
        [
            score_section(systems, splits, scores),
            curve_section(systems),
            _study(systems, splits, study),
            analysis_section(
                _analyses_of(runs, analyses),
                {name: summary for name, summary in SUMMARIES.items() if name not in _NOT_SHOWN},
            ),
            making_section(systems, splits),
        ],
        called_as,
    )


def _analyses_of(runs: Sequence[Run], folders: Sequence[Path]) -> dict[str, list[Findings]]:
    places = [(run.folder, run.name) for run in runs] + [(folder, folder_name(folder)) for folder in folders]
    names = [name for name in SUMMARIES if name not in _NOT_SHOWN]
    found = [find_analyses(folder, owner, names) for folder, owner in places]
    return {
        name: [findings for of_one in found for findings in of_one.get(name, ())]
        for name in names
        if any(name in of_one for of_one in found)
    }


def _study(systems: Systems, splits: Sequence[str], name: str | None) -> Section:
    """Cases of system *name*, by default the first beside the baseline: their first runs, the first split."""
    baseline, *others = systems
    if not others:
        return without_cases("There is one system, so there is nothing to hold it against.")
    name = name or others[0]
    split = next(
        (split for split in splits if all(split in systems[one][0].scores for one in (name, baseline))), None
    )
    if split is None:
        return without_cases(f"No split is scored for both {name} and {baseline}.")
    try:
        texts = {one: read_translations(systems[one][0], split) for one in (name, baseline)}
    except IkdError as error:
        return without_cases(f"There are none of {split}: {error}.")
    first, second = texts.values()
    if first.references != second.references:
        return without_cases(f"{name} and {baseline} have other references of {split}.")
    corpus = Corpus({one: text.hypotheses for one, text in texts.items()}, first.references, first.sources)
    scores = score_sentences(corpus, make_scorer(DEFAULT_METRIC))
    wins, losses = ([make_case(corpus, scores, place) for place in end] for end in select_ends(scores, CASES))
    metric, sentences = METRICS[DEFAULT_METRIC], len(corpus.references)
    return case_section(Study(name, baseline, split, metric, wins, losses, *count_wins(scores), sentences))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-report",
        description="Writes one HTML page about finished runs: scores with significance, learning curves, "
        "cases, analyses, and how it was made. It needs no network and nothing beside it.",
        epilog="A run is a folder with score-SPLIT.json and, as far as there are any, generate-SPLIT.txt, "
        "train.log and what ikd-analyse wrote into folders below it. Folders called NAME-seedN are runs of "
        "one system.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--output", required=True, metavar="FILE", help="page to write, e.g. report.html")
    parser.add_argument("--title", default="Translation systems compared", help="of the page")
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="system that others are compared with (default: that of the first RUN)",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="SPLIT",
        help="splits to show, the first with cases (default: all that are scored)",
    )
    parser.add_argument(
        "--cases",
        metavar="NAME",
        help="system whose translations stand beside the baseline's (default: the first one beside it)",
    )
    parser.add_argument(
        "--analyses",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders that ikd-analyse wrote into, beyond those within the runs",
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    set_up_logging()
    check_output(args.output, [])
    text = make_report(
        args.runs,
        args.title,
        args.baseline,
        args.splits,
        args.cases,
        args.analyses,
        called_as=shlex.join(["ikd-report", *(sys.argv[1:] if argv is None else argv)]),
    )
    with write_atomically(args.output, "w", encoding="utf-8") as stream:
        stream.write(text)
    logger.info("wrote %s (%.1f MB)", args.output, len(text.encode()) / 1e6)
