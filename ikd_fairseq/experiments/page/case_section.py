"""Case studies: sentences that a system translates best and worst against the baseline, words marked."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from ...analysis.cases import MISSING, RIGHT, WRONG, Case, Word
from .document import Section, number
from .markup import Html, join, tag

_TITLE = "Case studies"


class Study(NamedTuple):
    """What there is to show.

    Attributes:
        system, baseline: what is held against what.
        split: of which the sentences are.
        metric: what the sentence-level score is called.
        wins, losses: cases, clearest first.
        better, worse, sentences: how many of all sentences score higher, lower, and all.
    """

    system: str
    baseline: str
    split: str
    metric: str
    wins: list[Case]
    losses: list[Case]
    better: int
    worse: int
    sentences: int


def without_cases(reason: str) -> Section:
    """The section where there is nothing to show, for which *reason* is a sentence."""
    return Section("cases", _TITLE, tag("p", reason))


def case_section(study: Study) -> Section:
    """The section."""
    system, baseline = study.system, study.baseline
    equal = study.sentences - study.better - study.worse
    content = [
        tag(
            "p",
            f"Of the {study.sentences:,} sentences of {study.split}, {system} scores higher than {baseline} "
            f"in {study.better:,}, lower in {study.worse:,} and the same in {equal:,}, by the {study.metric} "
            "of a sentence. Shown are those where they are furthest apart.",
        ),
        tag(
            "p",
            "Words as in the reference are ",
            _piece("blue", RIGHT),
            ", others are ",
            _piece("red and underlined", WRONG),
            ", and words of the reference that are left out stand ",
            _piece("in brackets", MISSING),
            ". A word that is as good as the reference’s, but another one, counts as wrong.",
        ),
    ]
    for cases, outcome in ((study.wins, "wins"), (study.losses, "loses")):
        content.append(tag("h3", f"{system} {outcome} against {baseline}"))
        content += [_case(case, study.metric) for case in cases]
        if not cases:
            content.append(tag("p", "There is no such sentence."))
    return Section("cases", _TITLE, join(content))


def _case(case: Case, metric: str) -> Html:
    entries = [] if case.source is None else [tag("dt", "source"), tag("dd", case.source)]
    entries += [tag("dt", "reference"), tag("dd", case.reference)]
    for name, words in case.translations.items():
        entries += [tag("dt", f"{name}, {number(case.scores[name], 1)}"), tag("dd", _marked(words))]
    heading = f"Sentence {case.sentence}, {number(case.difference, 1, sign=True)} {metric}"
    return tag("article", tag("h4", heading), tag("dl", *entries), class_="case")


def _marked(words: Sequence[Word]) -> Html:
    pieces: list[Html] = []
    for mark, some in groupby(words, key=lambda word: word.mark):
        pieces += [Html(" "), _piece(" ".join(word.text for word in some), mark)]
    return join(pieces[1:])


def _piece(text: str, mark: str) -> Html:
    name = "mark" if mark == WRONG else "span"
    return tag(name, f"[{text}]" if mark == MISSING else text, class_=f"word-{mark}")
