"""Scores in sentences: what is significant, and what a reader must know of the tables."""

from collections.abc import Collection

from ...evaluation.significance import MARKS, TESTS
from ...io.html import count, number
from ..comparison import TEST, Scores, Systems
from ..notes import seed_notes


def verdict(systems: Collection[str], scores: Scores) -> str:
    """How many differences from the first of *systems* are significant, and which, in a sentence."""
    baseline, *others = systems
    if not others:
        return "There is one system, so there is nothing to compare it with."
    tested = {key: outcome for key, outcome in scores.outcomes.items() if outcome.p_values}
    if not tested:
        return f"No difference from {baseline} could be tested."
    marked = []
    for (metric, system, split), outcome in tested.items():
        if outcome.mark and outcome.difference is not None:
            difference = f"{number(outcome.difference, sign=True)} {scores.metrics[metric].name}"
            marked.append(f"{system} on {split} ({difference}{outcome.mark})")
    found = f"{len(marked)} {'is' if len(marked) == 1 else 'are'}" if marked else "none is"
    which = f": {', '.join(marked)}" if marked else ""
    every = count(len(tested), "difference")
    return f"Of {every} from {baseline}, {found} significant at p < {MARKS[-1][0]}{which}."


def notes(systems: Systems, scores: Collection[Scores]) -> list[str]:
    """What a reader must know of tables of *scores*, the first of *systems* being the baseline."""
    found = seed_notes([run for own in systems.values() for run in own])
    if any(outcome.p_values for of_group in scores for outcome in of_group.outcomes.values()):
        marks = ", ".join(f"{mark} p < {limit}" for limit, mark in reversed(MARKS))
        test = TESTS[TEST]
        found.append(
            f"Below each score: difference from {next(iter(systems))}, and p by {test.title}, "
            f"{test.trials:,} {test.trial_name}, two-sided, run against run of the same seed; {marks}, where "
            "every pair of runs reaches it in the same direction. Of twenty pairs of runs that are equally "
            "good, one is expected below 0.05."
        )
    return found
