"""Scores of systems by metric and split, and the significance of their differences from the baseline.

The scores are those of the files that ikd-score wrote. For the test the translations beside them are scored
again, run by run against the baseline's run of the same seed (see :mod:`ikd_fairseq.evaluation.significance`). Where
that is not possible there is no p, and a note says why.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...errors import IkdError, check
from ...evaluation.metrics import METRICS, make_scorers
from ...evaluation.significance import Outcome, compare_runs
from ...evaluation.translations import Translations, load_run
from ...io.progress import progress
from .runs import Run, Score, Systems

TEST = "bootstrap"

_AS_STORED = 0.005  # scores closer than this are the same: half a step of what is shown

logger = logging.getLogger(__name__)


class Scores(NamedTuple):
    """Scores of all systems, the baseline first.

    Attributes:
        names: of metrics, by key ("bleu", ...).
        signatures: by key of the metric.
        sentences: by split.
        outcomes: by metric, system and split; what is not there was not scored. Differences and p are of the
            pairs of runs that were tested, or of all that have the same seed where none was.
        notes: sentences about what is missing.
    """

    names: dict[str, str]
    signatures: dict[str, str]
    sentences: dict[str, int]
    outcomes: dict[tuple[str, str, str], Outcome]
    notes: list[str]


def compare_systems(systems: Systems, splits: Sequence[str], trials: int | None = None) -> Scores:
    """Means over runs, and the significance of differences from the first system.

    Args:
        systems: runs by system, the baseline first.
        splits: those to compare on.
        trials: resamples of the test; by default sacreBLEU's 1,000.

    Raises:
        IkdError: scores of two runs do not compare, as they are of other sentences or settings.
    """
    every = [
        (run, split, run.scores[split])
        for own in systems.values()
        for run in own
        for split in splits
        if split in run.scores
    ]
    names, signatures, sentences = _check_comparable(every)
    baseline, *others = systems
    p_values: dict[tuple[str, str, str], tuple[float, ...]] = {}
    notes: list[str] = []
    # sacreBLEU's two lines a metric and run would break up the progress bar.
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    for split in progress(splits if others else (), desc="significance", unit="split"):
        for group, seeds in _groups(systems, split):
            try:
                found = _test(systems, [baseline, *group], split, seeds, trials)
            except IkdError as error:
                notes.append(f"{split}: {', '.join(group)} not tested against {baseline}: {error}.")
                continue
            p_values.update({(metric, name, split): p for (metric, name), p in found.items()})
        notes += [
            f"{split}: {name} and {baseline} have no run of the same seed, so they were not tested."
            for name in others
            if _scored(systems, name, split)
            and _scored(systems, baseline, split)
            and not _common_seeds(systems, name, split)
        ]

    outcomes = {}
    for metric in names:
        for name in systems:
            for split in splits:
                values = _values(systems, name, split, metric)
                if values:
                    theirs = _values(systems, baseline, split, metric) if name != baseline else {}
                    common = [seed for seed in values if seed in theirs]
                    differences = tuple(values[seed] - theirs[seed] for seed in common)
                    tested = p_values.get((metric, name, split), ())
                    outcomes[metric, name, split] = Outcome(tuple(values.values()), differences, tested)
    for name, own in systems.items():
        for split in splits:
            lacking = [run.name for run in own if split not in run.scores]
            if lacking:
                notes.append(f"{split}: no score of {', '.join(lacking)}.")
    return Scores(names, signatures, sentences, outcomes, notes)


def read_translations(run: Run, split: str) -> Translations:
    """The translations that a score is of, with references, and sources where they are known.

    References come from the file that the score names or, where it is gone, from the translations' T- lines.

    Raises:
        IkdError: the translations are not there or do not fit.
    """
    path, score = run.translations(split), run.scores[split]
    check(path.is_file(), f"{path} is missing")
    settings = dict(score.settings)
    if not os.path.isfile(settings["references"] or ""):
        settings["references"] = None
    return load_run(
        str(path),
        settings["references"],
        {str(score.path): score.sentences},
        settings["remove_bpe"],
        settings["detokenise"],
    )


def _test(
    systems: Systems, names: Sequence[str], split: str, seeds: Sequence[int | None], trials: int | None
) -> dict[tuple[str, str], tuple[float, ...]]:
    """p by metric and system, one a seed, of systems that all have a run of each of *seeds*."""
    runs = {name: [run for run in _scored(systems, name, split) if run.seed in seeds] for name in names}
    texts = {name: [read_translations(run, split) for run in own] for name, own in runs.items()}
    first = texts[names[0]][0].references
    for name, own in runs.items():
        for run, text in zip(own, texts[name]):
            check(
                text.references == first,
                f"the references of {run.folder} are not those of {runs[names[0]][0].folder}",
            )
    lines = {name: [text.hypotheses for text in own] for name, own in texts.items()}
    scores = [run.scores[split] for own in runs.values() for run in own]
    metrics = [metric for metric in METRICS if all(metric in score.metrics for score in scores)]
    compared = compare_runs(lines, first, make_scorers(scores[0].preset, metrics), TEST, trials)
    for metric, comparison in compared.items():
        for name, own in runs.items():
            for run, value in zip(own, comparison.outcomes[name].scores):
                stored = run.scores[split].metrics[metric]["score"]
                check(
                    abs(value - stored) < _AS_STORED,
                    f"{run.translations(split)} scores {value:.2f} "
                    f"{comparison.metric}, but {run.scores[split].path} says {stored:.2f}",
                )
    return {
        (metric, name): comparison.outcomes[name].p_values
        for metric, comparison in compared.items()
        for name in names[1:]
    }


def _check_comparable(every: Sequence[tuple[Run, str, Score]]):
    """Names and signatures by metric, and numbers of sentences by split, which all scores share."""
    names: dict[str, str] = {}
    signatures: dict[str, tuple[str, Score]] = {}
    sentences: dict[str, tuple[int, Score]] = {}
    for _, split, score in every:
        count, first = sentences.setdefault(split, (score.sentences, score))
        check(
            count == score.sentences,
            f"{first.path} is of {count} sentences, but {score.path} of "
            f"{score.sentences}: these scores do not compare, so leave one of the runs out",
        )
        for metric, found in score.metrics.items():
            names.setdefault(metric, found["name"])
            signature, first = signatures.setdefault(metric, (found["signature"], score))
            check(
                signature == found["signature"],
                f"{names[metric]} of {first.path} ({signature}) does not "
                f"compare with that of {score.path} ({found['signature']}): score both alike",
            )
    return (
        names,
        {metric: signature for metric, (signature, _) in signatures.items()},
        {split: count for split, (count, _) in sentences.items()},
    )


def _scored(systems: Systems, name: str, split: str) -> list[Run]:
    return [run for run in systems[name] if split in run.scores]


def _values(systems: Systems, name: str, split: str, metric: str) -> dict[int | None, float]:
    """Scores by seed."""
    return {
        run.seed: run.scores[split].metrics[metric]["score"]
        for run in _scored(systems, name, split)
        if metric in run.scores[split].metrics
    }


def _common_seeds(systems: Systems, name: str, split: str) -> tuple[Any, ...]:
    """Seeds of which both *name* and the baseline are scored on *split*, in their order."""
    theirs = {run.seed for run in _scored(systems, next(iter(systems)), split)}
    return tuple(run.seed for run in _scored(systems, name, split) if run.seed in theirs)


def _groups(systems: Systems, split: str) -> list[tuple[list[str], tuple[Any, ...]]]:
    """Systems that have the same seeds in common with the baseline, so that they are tested at once."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name in list(systems)[1:]:
        seeds = _common_seeds(systems, name, split)
        if seeds:
            groups.setdefault(seeds, []).append(name)
    return [(names, seeds) for seeds, names in groups.items()]
