"""Sentences of two systems where their translations differ most, from the first run of either."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from ...analysis.cases import Corpus, Study, make_study
from ...errors import IkdError, check
from ...io.generate_output import read_generate_output
from ..comparison import Systems, read_translations
from ..record import ALL, WITH_IMAGE, Record, Score

CASES = 4  # at either end


def find_cases(systems: Systems, splits: Sequence[str], name: str | None) -> tuple[str, Study]:
    """The first split that both are scored on, and cases of it.

    Args:
        systems: runs by system, the baseline first.
        splits: to look at, in this order.
        name: of the system to hold against the baseline, by default the first other one.

    Raises:
        IkdError: there is nothing to show.
    """
    baseline, *others = systems
    check(bool(others), "There is one system, so there is nothing to hold it against.")
    name = name or others[0]
    ours, theirs = systems[name][0], systems[baseline][0]
    for split, group in itertools.product(splits, (ALL, WITH_IMAGE)):
        score, other = ours.score(split, group), theirs.score(split, group)
        if score is not None and other is not None:
            try:
                return split, _study({name: (ours, score), baseline: (theirs, other)})
            except IkdError as error:
                raise IkdError(f"There are none of {split}: {error}.") from error
    raise IkdError(f"No split is scored for both {name} and {baseline}.")


def _study(runs: dict[str, tuple[Record, Score]]) -> Study:
    texts = {name: read_translations(run, score) for name, (run, score) in runs.items()}
    (run, score), *_ = runs.values()
    (_, references), *_ = texts.values()
    sources = read_generate_output(str(run.folder / score.output)).sources
    ids = score.sentences.places()
    lines = [sources.get(sentence, "") for sentence in ids] if sources else None
    translations = {name: hypotheses for name, (hypotheses, _) in texts.items()}
    study = make_study(Corpus(translations, references, lines), count=CASES)
    for cases in study.shown.values():  # counted in the whole split
        cases[:] = [replace(case, sentence=ids[case.sentence]) for case in cases]
    return study
