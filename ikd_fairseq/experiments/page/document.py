"""The page as a whole. A section says in a sentence what is missing, and shows nothing in its place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...analysis import SUMMARIES
from ...errors import IkdError, check
from ...io.html import render
from ..columns import mean_cell
from ..comparison import Systems, compare_systems, group_systems
from ..notes import page_notes, verdict
from ..record import ALL, WITH_IMAGE, Group, Record, find_records
from .analyses import read_analyses
from .case_study import find_cases
from .charts import draw_curves
from .making import OPTIONS, how_it_was_made

# All but cases, which have a section of their own, and degraded text, which is for training.
ANALYSES = {name: summary for name, summary in SUMMARIES.items() if name not in ("cases", "degrade")}

_GROUPS: dict[Group, str] = {ALL: "All sentences", WITH_IMAGE: "Sentences with an image"}
_TEMPLATES = Path(__file__).with_name("templates")


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
        folders: of runs, each with its record, or of such folders.
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
    runs = find_records(folders)
    systems = group_systems(runs)
    first = baseline or next(iter(systems))
    check(first in systems, f"--baseline {baseline}: there is no such system; there are {', '.join(systems)}")
    systems = {first: systems[first], **systems}
    splits = _choose_splits(runs, splits)
    for folder in analyses:
        check(folder.is_dir(), f"--analyses {folder} is no folder; give one that ikd-analyse wrote into")
    others = list(systems)[1:]
    beside = f"beside the baseline; there are {', '.join(others) or 'none'}"
    check(study is None or study in others, f"--cases {study}: there is no such system {beside}")
    scores = _scores(systems, splits, trials)  # before all else: it refuses runs that do not compare
    places = [(run.folder, run.name) for run in runs]
    found = read_analyses([*places, *((folder, folder.resolve().name) for folder in analyses)], ANALYSES)
    try:
        cases, without_cases = find_cases(systems, splits, study), None
    except IkdError as error:
        cases, without_cases = None, str(error)
    return render(
        "report.html.j2",
        _TEMPLATES,
        title=title,
        command=called_as,
        systems=systems,
        runs=len(runs),
        **scores,
        curves=draw_curves(systems),
        study=cases,
        without_study=without_cases,
        analyses=found,
        not_found=[name for name in ANALYSES if name not in found],
        making=how_it_was_made(systems),
        option_names=OPTIONS,
    )


def _choose_splits(runs: Sequence[Record], wanted: Sequence[str] | None) -> list[str]:
    """The splits that a run has scores of, by name, or those *wanted*."""
    found = sorted({split for run in runs for split in run.scores})
    check(bool(found), "no run has a score: translate and score them first (translate.sh, or ikd-record)")
    for split in wanted or ():
        check(split in found, f"--splits {split}: no run has a score of it; there are {', '.join(found)}")
    return list(dict.fromkeys(wanted or found))


def _scores(systems: Systems, splits: Sequence[str], trials: int | None) -> dict[str, Any]:
    """What ``section_scores.html.j2`` shows: tables by group of sentences, and what is said of them."""
    runs = [run for own in systems.values() for run in own]
    scores = {
        title: compare_systems(systems, own, next(iter(systems)), group, trials=trials)
        for group, title in _GROUPS.items()
        if (own := _splits_of(group, runs, splits))
    }
    return {
        "scores": scores,
        "mean_cell": mean_cell,
        "verdicts": {title: verdict(systems, of_group) for title, of_group in scores.items()},
        "notes": page_notes(systems, scores.values()),
        "metrics": {key: metric for of_group in scores.values() for key, metric in of_group.metrics.items()},
    }


def _splits_of(group: Group, runs: Sequence[Record], splits: Sequence[str]) -> list[str]:
    """Those with scores of *group*. A split whose every sentence has an image has one table, that of all."""

    def prints(split: str, group: Group) -> set[str]:
        scores = (run.score(split, group) for run in runs)
        return {score.sentences.fingerprint for score in scores if score is not None}

    return [
        split for split in splits if prints(split, group) - (set() if group == ALL else prints(split, ALL))
    ]
