"""Scores: a table a metric, systems by split, with differences from the baseline."""

from collections.abc import Sequence
from typing import Any

from ...evaluation.significance import MARKS, TESTS, Outcome
from .document import ABSENT, Section, count, number
from .markup import Html, join, table, tag
from .runs import Run, Systems
from .scores import TEST, Scores


def score_section(systems: Systems, splits: Sequence[str], scores: Scores) -> Section:
    """The section.

    Args:
        systems: runs by system, the baseline first.
        splits: columns of the tables.
        scores: of these systems and splits.
    """
    sizes = {split: count(scores.sentences[split], "sentence") for split in splits}
    heads = (join([split, tag("span", size, class_="change")]) for split, size in sizes.items())
    columns = ["system", *heads]
    labels = {name: join([name, tag("span", _runs(own), class_="change")]) for name, own in systems.items()}
    tables = []
    for metric, name in scores.names.items():
        rows = [
            [label, *(_cell(scores.outcomes.get((metric, system, split))) for split in splits)]
            for system, label in labels.items()
        ]
        caption = f"{name}, {'less' if metric == 'ter' else 'more'} is better"
        tables.append(table(f"score-{metric}", caption, columns, rows, right=range(1, len(columns))))
    notes = (tag("li", note) for note in _notes(systems, scores))
    content = join(
        [
            tag("p", _verdict(list(systems), scores)),
            tag("div", *tables, class_="beside"),
            tag("ul", *notes, class_="notes"),
        ]
    )
    return Section("scores", "Scores", content)


def _verdict(names: Sequence[str], scores: Scores) -> str:
    """How many differences are significant, and which, in a sentence."""
    baseline, *others = names
    if not others:
        return "There is one system, so there is nothing to compare it with."
    tested = {key: outcome for key, outcome in scores.outcomes.items() if outcome.p_values}
    if not tested:
        return f"No difference from {baseline} could be tested."
    marked = [
        f"{system} on {split} ({number(outcome.difference, sign=True)} {scores.names[metric]}{outcome.mark})"
        for (metric, system, split), outcome in tested.items()
        if outcome.mark
    ]
    found = f"{len(marked)} {'is' if len(marked) == 1 else 'are'}" if marked else "none is"
    which = f": {', '.join(marked)}" if marked else ""
    every = count(len(tested), "difference")
    return f"Of {every} from {baseline}, {found} significant at p < {MARKS[-1][0]}{which}."


def _runs(runs: Sequence[Run]) -> str:
    seeds = [str(run.seed) for run in runs if run.seed is not None]
    which = f", seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)}" if seeds else ""
    return count(len(runs), "run") + which


def _cell(outcome: Outcome | None) -> Html:
    """Mean and deviation and, below them, difference, mark and p."""
    if outcome is None:
        return tag("span", ABSENT, class_="score")
    spread = "" if outcome.deviation is None else f" ± {number(outcome.deviation)}"
    parts = [tag("span", number(outcome.mean) + spread, class_="score")]
    if outcome.differences:
        change = number(outcome.difference, sign=True) + outcome.mark
        if outcome.p_values:
            change += f", p = {', '.join(f'{p:.3f}' for p in outcome.p_values)}"
        parts.append(tag("span", change, class_="change"))
    return join(parts)


def _notes(systems: Systems, scores: Scores) -> list[Any]:
    """What a reader must know of the tables."""
    single = [name for name, own in systems.items() if len(own) == 1]
    notes: list[Any] = []
    if len(single) < len(systems):
        notes.append("Mean ± standard deviation of the sample over runs.")
    if single:
        which = "Every system" if len(single) == len(systems) else ", ".join(single)
        notes.append(f"{which}: one run, so no deviation, and what another seed would give is unknown.")
    if any(outcome.p_values for outcome in scores.outcomes.values()):
        marks = ", ".join(f"{mark} p < {limit}" for limit, mark in reversed(MARKS))
        test = TESTS[TEST]
        notes.append(
            f"Below each score: difference from {next(iter(systems))}, and p by {test.title}, "
            f"{test.trials:,} {test.trial_name}, two-sided, run against run of the same seed; {marks}, where "
            "every pair of runs reaches it in the same direction. Of twenty pairs of runs that are equally "
            "good, one is expected below 0.05."
        )
    notes += [
        join([scores.names[metric], ": ", tag("code", signature)])
        for metric, signature in scores.signatures.items()
    ]
    return notes + scores.notes
