"""Translations of several systems side by side, best and worst. Peng et al. 2022, section 5.4, Figure 5.

Sentences are sorted by the sentence-level score of the first system minus that of the second, so that one end
shows where the first one wins and the other where it loses; the paper shows two sentences that were picked.
Beside each translation stands which of its words are right: those that an alignment with the reference keeps.
A word that is as good as the reference's, but another one, counts as wrong, here as in BLEU.
"""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from sacrebleu.metrics.base import Metric

from ..errors import check
from ..evaluation.metrics import make_sentence_scorer
from ..evaluation.significance import named_runs
from ..evaluation.translations import Translations, agreed_count, load_run
from ..evaluation.translations import remove_bpe as joined
from ..io.html import render
from ..io.progress import progress
from ..io.text_lines import read_lines
from .output import Table, check_folder, check_sentences, write_files

METRICS = {"bleu": "BLEU", "chrf": "chrF"}  # of a single sentence, and what it is called

RIGHT, WRONG, MISSING = "right", "wrong", "missing"

logger = logging.getLogger(__name__)


class Word(NamedTuple):
    """A word of a translation, or of the reference where the translation lacks it (:data:`MISSING`)."""

    text: str
    mark: str


class Corpus(NamedTuple):
    """A test set and its translations by system, as many lines each; sources are None where not known."""

    translations: dict[str, list[str]]
    references: list[str]
    sources: list[str] | None = None


@dataclass(frozen=True)
class Case:
    """One sentence in the words of every system."""

    sentence: int  # counted from 0
    difference: float  # score of the first system minus that of the second
    source: str | None
    reference: str
    scores: dict[str, float]  # of the sentence by system, 0 to 100
    translations: dict[str, list[Word]]  # marked, by system

    @property
    def pieces(self) -> dict[str, list[Word]]:
        """The translations, with neighbours of the same mark as one piece."""
        return {
            name: [
                Word(" ".join(word.text for word in alike), mark)
                for mark, alike in groupby(words, key=lambda word: word.mark)
            ]
            for name, words in self.translations.items()
        }

    def as_json(self) -> dict[str, Any]:
        marked = {name: [word._asdict() for word in words] for name, words in self.translations.items()}
        return {**vars(self), "translations": marked}


class Study(NamedTuple):
    """Systems compared sentence by sentence, and the cases to show."""

    metric: str  # what the sentence-level score is called
    signature: str  # sacreBLEU's, of that score
    scores: dict[str, list[float]]  # by system and sentence
    better: int  # in how many sentences the first system scores higher than the second
    worse: int
    shown: dict[str, list[Case]]  # "wins" and "losses" of the first system, clearest first, or "chosen"


def mark_words(translation: str, reference: str) -> list[Word]:
    """The words of *translation*, right or wrong, and those that it leaves out, where they would stand.

    Words are aligned by difflib, longest common run of words first, ignoring case. Words that stand in the
    place of others are wrong, and the others are not counted as missing.
    """
    ours, theirs = translation.split(), reference.split()
    ours_lowered, theirs_lowered = ([word.lower() for word in words] for words in (ours, theirs))
    matcher = difflib.SequenceMatcher(None, ours_lowered, theirs_lowered, autojunk=False)
    marked: list[Word] = []
    for kind, begin, end, their_begin, their_end in matcher.get_opcodes():
        if kind == "insert":  # what would turn the translation into the reference
            marked += [Word(text, MISSING) for text in theirs[their_begin:their_end]]
        else:
            marked += [Word(text, RIGHT if kind == "equal" else WRONG) for text in ours[begin:end]]
    return marked


def score_sentences(corpus: Corpus, scorer: Metric) -> dict[str, list[float]]:
    """Scores by system and sentence, 0 to 100."""
    return {
        name: [
            scorer.sentence_score(line, [reference]).score
            for line, reference in progress(
                zip(lines, corpus.references), total=len(lines), desc=f"score {name}", unit="sentence"
            )
        ]
        for name, lines in corpus.translations.items()
    }


def differences(scores: dict[str, list[float]]) -> list[float]:
    """Score of the first system minus that of the second, by sentence."""
    first, second, *_ = scores.values()
    return [ours - theirs for ours, theirs in zip(first, second)]


def sort_by_difference(scores: dict[str, list[float]]) -> list[int]:
    """Sentences by :func:`differences`, largest first; ties by number."""
    by_sentence = differences(scores)
    return sorted(range(len(by_sentence)), key=lambda place: (-by_sentence[place], place))


def select_ends(scores: dict[str, list[float]]) -> tuple[list[int], list[int]]:
    """Where the first system wins, and where it loses, clearest first. Ties are in neither."""
    by_sentence, order = differences(scores), sort_by_difference(scores)
    wins = [place for place in order if by_sentence[place] > 0]
    losses = [place for place in reversed(order) if by_sentence[place] < 0]
    return wins, losses


def make_case(corpus: Corpus, scores: dict[str, list[float]], sentence: int) -> Case:
    """The case of one sentence."""
    reference = corpus.references[sentence]
    return Case(
        sentence,
        differences(scores)[sentence],
        corpus.sources[sentence] if corpus.sources else None,
        reference,
        {name: own[sentence] for name, own in scores.items()},
        {name: mark_words(lines[sentence], reference) for name, lines in corpus.translations.items()},
    )


def make_study(
    corpus: Corpus, metric: str = "bleu", count: int = 5, sentences: Sequence[int] | None = None
) -> Study:
    """Holds the first system of *corpus* against the second.

    Args:
        metric: of a single sentence, a key of :data:`METRICS`.
        count: sentences to show of either end.
        sentences: those to show instead, counted from 0.

    Raises:
        IkdError: there is no such sentence.
    """
    total = len(corpus.references)
    check_sentences(sentences or (), "the test set", total)
    scorer = make_sentence_scorer(metric)
    scores = score_sentences(corpus, scorer)
    wins, losses = select_ends(scores)
    if sentences is None:
        chosen = {"wins": wins[:count], "losses": losses[:count]}
    else:
        chosen = {"chosen": list(dict.fromkeys(sentences))}
    shown = {kind: [make_case(corpus, scores, place) for place in places] for kind, places in chosen.items()}
    return Study(METRICS[metric], str(scorer.get_signature()), scores, len(wins), len(losses), shown)


def load_corpus(
    systems: Sequence[tuple[str, str]],
    references: str | None = None,
    sources: str | None = None,
    remove_bpe: bool = False,
) -> Corpus:
    """Reads the translations of one test set: names and files, each as ``fairseq-generate`` or by lines.

    *references* and *sources* are files of a sentence a line; by default the T- lines, which must be the same
    in every file of *systems*, and the S- lines of the first file that has any.

    Raises:
        IkdError: a file cannot be read, is empty, lacks sentences or is of another test set.
    """
    texts: dict[str, Translations] = {}
    for name, path in systems:
        texts[name] = load_run(path, references, without_bpe=remove_bpe)
        first, *_ = texts.values()
        check(
            texts[name].references == first.references,
            f"{path} and {systems[0][1]} hold different references (T- lines); give outputs for one test "
            "set, or --references FILE",
        )
    lines = next((text.sources for text in texts.values() if text.sources), None)
    if sources is not None:
        lines = [joined(line) for line in read_lines(sources)] if remove_bpe else read_lines(sources)
        agreed_count({sources: len(lines), systems[0][1]: len(first.references)})
    return Corpus({name: text.hypotheses for name, text in texts.items()}, first.references, lines)


def run(
    systems: Sequence[Sequence[str]],
    output: str,
    references: str | None = None,
    sources: str | None = None,
    remove_bpe: bool = False,
    metric: str = "bleu",
    count: int = 5,
    sentences: Sequence[int] | None = None,
) -> Table:
    """Writes ``cases.tsv``, every sentence, sorted; ``cases.json`` and ``cases.html``, those that are shown.

    The table returned has the sentences shown: wins, then losses, clearest first, or in the order asked for.
    """
    named = [(name, named_runs("--systems", (name, path))[1][0]) for name, path in systems]
    names = [name for name, _ in named]
    check(len(names) > 1, "one system has nothing to differ from; give --systems NAME FILE twice or more")
    twice = next((name for name in names if names.count(name) > 1), None)
    check(twice is None, f"two systems are called {twice}; give each a name of its own")
    check_folder(output)
    corpus = load_corpus(named, references, sources, remove_bpe)
    study = make_study(corpus, metric, count, sentences)
    first, second, *_ = names
    check(
        sentences is not None or bool(study.better or study.worse),
        f"{first} and {second} score the same in every sentence: name some --sentences",
    )
    better, worse, total = study.better, study.worse, len(corpus.references)
    message = "%s is better than %s in %d sentences, worse in %d, and as good in %d"
    logger.info(message, first, second, better, worse, total - better - worse)
    report = {
        "systems": dict(named),
        "metric": metric,
        "signature": study.signature,
        "sentences": {"all": total, "better": better, "worse": worse},
        **{kind: [case.as_json() for case in cases] for kind, cases in study.shown.items()},
    }
    title = f"{first} and {second} side by side"
    page = render("cases.html.j2", title=title, study=study, command="ikd-analyse cases")
    table = _table_of_all(corpus, study.scores)
    write_files(output, {"cases.tsv": table, "cases.json": report, "cases.html": page})
    shown = (case for cases in study.shown.values() for case in cases)
    rows = [(case.sentence, case.difference, *case.scores.values()) for case in shown]
    return Table(["sentence", "difference", *names], rows)


def _table_of_all(corpus: Corpus, scores: dict[str, list[float]]) -> Table:
    sources = {"source": corpus.sources} if corpus.sources else {}
    texts = {**sources, "reference": corpus.references, **corpus.translations}
    columns = ["sentence", "difference", *(f"score of {name}" for name in scores), *texts]
    numbers = list(zip(differences(scores), *scores.values()))
    # Without the tabs that they may hold.
    lines = [[" ".join(line.split()) for line in of_sentence] for of_sentence in zip(*texts.values())]
    return Table(columns, [(place, *numbers[place], *lines[place]) for place in sort_by_difference(scores)])
