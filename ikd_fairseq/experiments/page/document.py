"""The page as a whole. A section says in a sentence what is missing, and shows nothing in its place."""

from collections.abc import Sequence
from pathlib import Path

from ...analysis import SUMMARIES
from ...analysis.cases import Corpus, Study, make_study
from ...errors import IkdError, check
from ...io.html import render
from .analyses import read_analyses
from .curve_section import find_curves
from .making_section import how_it_was_made
from .runs import Systems, choose_splits, folder_name, group_systems, read_run
from .score_section import notes, verdict
from .scores import compare_systems, read_translations

CASES = 4  # at either end

# All but cases, which have a section of their own, and degraded text, which is for training.
ANALYSES = {name: summary for name, summary in SUMMARIES.items() if name not in ("cases", "degrade")}

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
    others = list(systems)[1:]
    check(
        study is None or study in others,
        f"--cases {study}: there is no such system beside the baseline; there are "
        f"{', '.join(others) or 'none'}",
    )
    scores = compare_systems(systems, splits, trials)
    places = [(run.folder, run.name) for run in runs] + [(folder, folder_name(folder)) for folder in analyses]
    found = read_analyses(places, ANALYSES)
    try:
        cases, without_cases = _study(systems, splits, study), None
    except IkdError as error:
        cases, without_cases = None, str(error)
    return render(
        "report.html.j2",
        _TEMPLATES,
        title=title,
        command=called_as,
        systems=systems,
        runs=len(runs),
        splits=splits,
        scores=scores,
        verdict=verdict(list(systems), scores),
        notes=notes(systems, scores),
        curves=find_curves(systems),
        study=cases,
        without_study=without_cases,
        analyses=found,
        not_found=[name for name in ANALYSES if name not in {analysis.name for analysis in found}],
        making=how_it_was_made(systems, splits),
    )


def _study(systems: Systems, splits: Sequence[str], name: str | None) -> tuple[str, Study]:
    """The split, and cases of system *name*, by default the first beside the baseline: their first runs.

    Raises:
        IkdError: there is nothing to show.
    """
    baseline, *others = systems
    check(others, "There is one system, so there is nothing to hold it against.")
    name = name or others[0]
    split = next(
        (split for split in splits if all(split in systems[one][0].scores for one in (name, baseline))), None
    )
    check(split is not None, f"No split is scored for both {name} and {baseline}.")
    try:
        texts = {one: read_translations(systems[one][0], split) for one in (name, baseline)}
    except IkdError as error:
        raise IkdError(f"There are none of {split}: {error}.") from error
    first, second = texts.values()
    check(first.references == second.references, f"{name} and {baseline} have other references of {split}.")
    corpus = Corpus({one: text.hypotheses for one, text in texts.items()}, first.references, first.sources)
    return split, make_study(corpus, count=CASES)
