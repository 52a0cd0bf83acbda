"""Translations of several systems side by side, best and worst. Peng et al. 2022, section 5.4, Figure 5.

Sentences are sorted by the sentence-level score of the first system minus that of the second, so that one end
shows where the first one wins and the other where it loses; the paper shows two sentences that were picked.
Beside each translation stands which of its words are right: those that an alignment with the reference keeps.
A word that is as good as the reference's, but another one, counts as wrong, here as in BLEU.
"""

import argparse
import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric

from ..errors import check
from ..evaluation.significance import named_runs
from ..evaluation.translations import agreed_count, load_run, read_lines
from ..io.progress import progress
from .features import check_sentences
from .output import Table, check_folder, new_figure, require, write_files

DEFAULT_COUNT = 5
DEFAULT_METRIC = "bleu"
METRICS = {"bleu": "BLEU", "chrf": "chrF"}  # of a single sentence, and what it is called

RIGHT, WRONG, MISSING = "right", "wrong", "missing"
COLOURS = {RIGHT: "#1f4e9c", WRONG: "#b3261e", MISSING: "#595959"}  # the paper's blue and red; 7:1 on white
LEGEND = "blue: as in the reference; red, underlined: not; grey, in brackets: words that are missing here"

logger = logging.getLogger(__name__)

_WIDTH = 10.0  # of the picture and, below, what is in it: inches
_MARGIN, _LINE, _GAP = 0.25, 0.22, 0.16
_FONT = 10  # points
_DPI = 120


class Word(NamedTuple):
    """A word of a translation, or of the reference where the translation lacks it.

    Attributes:
        mark: :data:`RIGHT`, :data:`WRONG` or :data:`MISSING`.
    """

    text: str
    mark: str


class Corpus(NamedTuple):
    """A test set and its translations, as many lines each.

    Attributes:
        translations: by the system's name, in the order given.
        sources: None where they are not known.
    """

    translations: dict[str, list[str]]
    references: list[str]
    sources: list[str] | None = None


@dataclass(frozen=True)
class Case:
    """One sentence in the words of every system.

    Attributes:
        sentence: its number, counted from 0.
        scores: sentence-level scores by system, 0 to 100.
        translations: marked words by system.
    """

    sentence: int
    source: str | None
    reference: str
    scores: dict[str, float]
    translations: dict[str, list[Word]]

    @property
    def difference(self) -> float:
        """Score of the first system minus that of the second."""
        first, second, *_ = self.scores.values()
        return first - second


def mark_words(translation: str, reference: str) -> list[Word]:
    """The words of *translation*, right or wrong, and those that it leaves out, where they would stand.

    Words are aligned by difflib, longest common run of words first, ignoring case. Words that stand in the
    place of others are wrong, and the others are not counted as missing.
    """
    ours, theirs = translation.split(), reference.split()
    lowered = ([word.lower() for word in words] for words in (ours, theirs))
    matcher = difflib.SequenceMatcher(None, *lowered, autojunk=False)
    marked: list[Word] = []
    for kind, begin, end, their_begin, their_end in matcher.get_opcodes():
        if kind == "insert":  # what would turn the translation into the reference
            marked += [Word(text, MISSING) for text in theirs[their_begin:their_end]]
        else:
            marked += [Word(text, RIGHT if kind == "equal" else WRONG) for text in ours[begin:end]]
    return marked


def make_scorer(metric: str) -> Metric:
    """sacreBLEU's scorer of single sentences: "bleu" or "chrf" of the tokens as they stand, without case.

    BLEU counts only the orders of n-grams that a sentence is long enough for.
    """
    if metric == "chrf":
        return CHRF(lowercase=True)
    return BLEU(tokenize="none", lowercase=True, force=True, effective_order=True)


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


def sort_by_difference(scores: dict[str, list[float]]) -> list[int]:
    """Sentences by score of the first system minus that of the second, largest first; ties by number."""
    first, second, *_ = scores.values()
    return sorted(range(len(first)), key=lambda place: (second[place] - first[place], place))


def select_ends(scores: dict[str, list[float]], count: int) -> tuple[list[int], list[int]]:
    """Up to *count* sentences where the first system wins, and as many where it loses, clearest first.

    Sentences of equal score are in neither, so that there may be fewer.
    """
    first, second, *_ = scores.values()
    order = sort_by_difference(scores)
    wins = [place for place in order if first[place] > second[place]]
    losses = [place for place in reversed(order) if first[place] < second[place]]
    return wins[:count], losses[:count]


def count_wins(scores: dict[str, list[float]]) -> tuple[int, int]:
    """In how many sentences the first system scores higher than the second, and in how many lower."""
    first, second, *_ = scores.values()
    higher = sum(ours > theirs for ours, theirs in zip(first, second))
    return higher, sum(ours < theirs for ours, theirs in zip(first, second))


def make_case(corpus: Corpus, scores: dict[str, list[float]], sentence: int) -> Case:
    """The case of one sentence."""
    reference = corpus.references[sentence]
    return Case(
        sentence,
        corpus.sources[sentence] if corpus.sources else None,
        reference,
        {name: own[sentence] for name, own in scores.items()},
        {name: mark_words(lines[sentence], reference) for name, lines in corpus.translations.items()},
    )


def load_corpus(
    systems: Sequence[tuple[str, str]],
    references: str | None = None,
    sources: str | None = None,
    remove_bpe: bool = False,
) -> Corpus:
    """Reads the translations of one test set.

    Args:
        systems: name and file of each: output of ``fairseq-generate``, or a translation a line.
        references, sources: files of a sentence a line. By default the T- lines, which must be the same in
            every file of *systems*, and the S- lines of the first file that has any.
        remove_bpe: join subwords first.

    Raises:
        IkdError: a file cannot be read, is empty, lacks sentences or is of another test set.
    """
    if references is None:
        for _, path in systems:
            check(
                any(line.startswith("T-") for line in read_lines(path)),
                f"{path} holds no references (T- lines); give --references FILE",
            )
    options = argparse.Namespace(
        references=references, remove_bpe=remove_bpe, sentences=None, data=None, split=None, detokenise=None
    )
    texts = {name: load_run(path, options) for name, path in systems}
    (first, path), *others = systems
    for name, other in others:
        check(
            texts[name].references == texts[first].references,
            f"{other} and {path} hold different references (T- lines); give outputs for one test set, or "
            "--references FILE",
        )
    lines = next((text.sources for text in texts.values() if text.sources), None)
    if sources is not None:
        lines = read_lines(sources)
        agreed_count({sources: len(lines), path: len(texts[first].references)})
    return Corpus({name: text.hypotheses for name, text in texts.items()}, texts[first].references, lines)


def draw(shown: dict[str, Sequence[Case]], metric: str):
    """A figure of the cases under their headings: source, reference, and the marked words of every system."""
    labels = [_label(case, name) for cases in shown.values() for case in cases for name in case.scores]
    writer = _Writer(["reference", *labels])
    for heading, cases in shown.items():
        if cases:
            writer.heading(heading)
        for case in cases:
            writer.case(case, metric)
    writer.write("", [(LEGEND, "black", False)])
    return writer.finish()


class _Writer:
    """Lays out lines of words from the top of a page that gets as long as it must. Units are inches."""

    def __init__(self, labels: Sequence[str]) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        self.depth = _MARGIN
        self.renderer = RendererAgg(1, 1, _DPI)  # measures text
        self.indent = 2 * _MARGIN + max(map(self._width_of, labels))
        self.texts: list[tuple[float, float, str, dict[str, Any]]] = []  # left, depth of base line, text, how
        self.rules: list[tuple[float, float, float, str, float]] = []  # left, right, depth, colour, points

    def heading(self, text: str) -> None:
        self._newline(_LINE)
        self.texts.append((_MARGIN, self.depth, text, {"fontsize": 1.3 * _FONT, "fontweight": "bold"}))
        self._newline(_GAP)

    def case(self, case: Case, metric: str) -> None:
        self.rules.append((_MARGIN, _WIDTH - _MARGIN, self.depth, "#b0b0b0", 0.6))
        title = f"sentence {case.sentence}, difference in {METRICS[metric]} {case.difference:+.1f}"
        self._newline()
        self.texts.append((_MARGIN, self.depth, title, {"fontweight": "bold"}))
        if case.source is not None:
            self.write("source", [(case.source, "black", False)])
        self.write("reference", [(case.reference, "black", False)])
        for name, words in case.translations.items():
            shown = [
                (
                    f"[{word.text}]" if word.mark == MISSING else word.text,
                    COLOURS[word.mark],
                    word.mark == WRONG,
                )
                for word in words
            ]
            self.write(_label(case, name), shown)
        self._newline(_GAP)

    def write(self, label: str, pieces: Sequence[tuple[str, str, bool]]) -> None:
        """A label, and beside it words, broken into lines: text, colour and whether it is underlined."""
        self._newline()
        self.texts.append((_MARGIN, self.depth, label, {"color": "#404040"}))
        left, space = self.indent, self._width_of("n n") - self._width_of("nn")
        for text, colour, underlined in pieces:
            for word in text.split():
                width = self._width_of(word)
                if left + width > _WIDTH - _MARGIN and left > self.indent:
                    self._newline()
                    left = self.indent
                self.texts.append((left, self.depth, word, {"color": colour}))
                if underlined:
                    self.rules.append((left, left + width, self.depth + 0.04, colour, 1.2))
                left += width + space

    def finish(self):
        from matplotlib.lines import Line2D

        height = self.depth + _MARGIN
        figure = new_figure(_WIDTH, height, dpi=_DPI, facecolor="white")
        for left, depth, text, how in self.texts:
            how = {"fontsize": _FONT, "parse_math": False, **how}
            figure.text(left / _WIDTH, 1 - depth / height, text, **how)
        for left, right, depth, colour, points in self.rules:
            ends = [left / _WIDTH, right / _WIDTH], [1 - depth / height] * 2
            figure.add_artist(Line2D(*ends, color=colour, linewidth=points))
        return figure

    def _newline(self, height: float = _LINE) -> None:
        self.depth += height

    def _width_of(self, text: str) -> float:
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=_FONT)
        width, _, _ = self.renderer.get_text_width_height_descent(text, font, ismath=False)
        return width / _DPI


def _label(case: Case, name: str) -> str:
    return f"{name}  {case.scores[name]:.1f}"


def run(
    systems: Sequence[Sequence[str]],
    output: str,
    references: str | None = None,
    sources: str | None = None,
    remove_bpe: bool = False,
    metric: str = DEFAULT_METRIC,
    count: int = DEFAULT_COUNT,
    sentences: Sequence[int] | None = None,
) -> Table:
    """Writes ``cases.tsv``, ``cases.json`` and ``cases.png`` into *output*.

    The first holds every sentence, sorted, the others those that are shown, with their words marked.
    Arguments are the command's options.

    Returns:
        The scores of the sentences shown: wins, then losses, clearest first, or in the order asked for.

    Raises:
        IkdError: input that cannot be used, or nothing to choose from, as all translations score the same.
    """
    require("matplotlib")
    named = [(name, named_runs("--systems", (name, path))[1][0]) for name, path in systems]
    names = [name for name, _ in named]
    check(len(names) > 1, "one system has nothing to differ from; give --systems NAME FILE twice or more")
    twice = next((name for name in names if names.count(name) > 1), None)
    check(twice is None, f"two systems are called {twice}; give each a name of its own")
    check_folder(output)
    corpus = load_corpus(named, references, sources, remove_bpe)
    check_sentences(sentences or (), "the test set", len(corpus.references))
    scorer = make_scorer(metric)
    scores = score_sentences(corpus, scorer)
    first, second, *_ = names
    better, worse = count_wins(scores)
    total = len(corpus.references)
    if sentences is None:
        check(
            better or worse, f"{first} and {second} score the same in every sentence: name some --sentences"
        )
        chosen = dict(zip(("wins", "losses"), select_ends(scores, count)))
    else:
        chosen = {"chosen": list(dict.fromkeys(sentences))}
    shown = {kind: [make_case(corpus, scores, place) for place in places] for kind, places in chosen.items()}
    logger.info(
        "%s is better than %s in %d sentences, worse in %d, and as good in %d",
        first,
        second,
        better,
        worse,
        total - better - worse,
    )

    report = {
        "systems": dict(named),
        "metric": metric,
        "signature": str(scorer.get_signature()),
        "sentences": {"all": total, "better": better, "worse": worse},
        **{kind: [_as_json(case) for case in cases] for kind, cases in shown.items()},
    }
    headings = {
        "wins": f"{first} wins against {second}",
        "losses": f"{first} loses against {second}",
        "chosen": f"{first} and {second} in chosen sentences",
    }
    picture = draw({headings[kind]: cases for kind, cases in shown.items()}, metric)
    table = _table_of_all(corpus, scores)
    write_files(output, {"cases.tsv": table, "cases.json": report, "cases.png": picture})
    rows = [
        (case.sentence, case.difference, *case.scores.values()) for cases in shown.values() for case in cases
    ]
    return Table(["sentence", "difference", *names], rows)


def _table_of_all(corpus: Corpus, scores: dict[str, list[float]]) -> Table:
    first, second, *_ = scores.values()
    texts = {"reference": corpus.references, **corpus.translations}
    if corpus.sources:
        texts = {"source": corpus.sources, **texts}
    columns = ["sentence", "difference", *(f"score of {name}" for name in scores), *texts]
    rows = [
        (
            place,
            first[place] - second[place],
            *(own[place] for own in scores.values()),
            *(" ".join(lines[place].split()) for lines in texts.values()),  # no tab of theirs
        )
        for place in sort_by_difference(scores)
    ]
    return Table(columns, rows)


def _as_json(case: Case) -> dict[str, Any]:
    return {
        "sentence": case.sentence,
        "difference": case.difference,
        "source": case.source,
        "reference": case.reference,
        "scores": case.scores,
        "translations": {
            name: [word._asdict() for word in words] for name, words in case.translations.items()
        },
    }
