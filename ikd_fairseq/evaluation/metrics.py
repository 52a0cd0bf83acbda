"""sacreBLEU's metrics in the two settings of the field, and the hypothesis that is closest to a reference."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from .translations import remove_bpe

METRICS = ("bleu", "chrf", "ter")
PRESETS = ("tokenised", "detokenised")


def make_scorers(preset: str = "tokenised", metrics: Sequence[str] = METRICS) -> dict[str, Metric]:
    """sacreBLEU's scorers.

    Args:
        preset: "tokenised" scores the tokens as they stand and ignores case, the BLEU of Peng et al. 2022
            (section 4) and of multi-bleu.perl -lc; "detokenised" takes plain text, tokenises it as WMT does
            (13a) and minds case.
        metrics: some of "bleu", "chrf" and "ter"; others are left out.
    """
    tokenised = preset == "tokenised"
    scorers: dict[str, Metric] = {
        # force: this preset is for text that looks tokenised, no cause for sacreBLEU's warning.
        "bleu": BLEU(tokenize="none" if tokenised else "13a", lowercase=tokenised, force=tokenised),
        "chrf": CHRF(lowercase=tokenised),
        "ter": TER(case_sensitive=not tokenised),
    }
    return {metric: scorers[metric] for metric in metrics if metric in scorers}


def make_sentence_scorer(metric: str = "bleu", lowercase: bool = True) -> Metric:
    """sacreBLEU's scorer of single sentences: "bleu" or "chrf" of the tokens as they stand.

    BLEU counts only the orders of n-grams that a sentence is long enough for, and smooths one without a match
    (sacreBLEU's "exp", method 3 of Chen and Cherry 2014).
    """
    if metric == "chrf":
        return CHRF(lowercase=lowercase)
    return BLEU(tokenize="none", lowercase=lowercase, force=True, smooth_method="exp", effective_order=True)


_CLOSENESS = make_sentence_scorer(lowercase=False)  # a hypothesis is to be a target, where case matters


def compute_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    preset: str = "tokenised",
    metrics: Sequence[str] = METRICS,
) -> dict[str, dict[str, Any]]:
    """sacreBLEU's corpus scores of *hypotheses*, one reference each; *preset* as in :func:`make_scorers`.

    Returns:
        By metric: "name", "score" (0 to 100; TER: edits a hundred words of the reference) and sacreBLEU's
        "signature".
    """
    scores = {}
    for metric, scorer in make_scorers(preset, metrics).items():
        score = scorer.corpus_score(list(hypotheses), [list(references)])
        signature = str(scorer.get_signature())
        scores[metric] = {"name": score.name, "score": score.score, "signature": signature}
    return scores


class Choice(NamedTuple):
    """A hypothesis of an n-best list."""

    rank: int  # its place in the list, from 0
    bleu: float  # its sentence-level BLEU, 0 to 100
    first_bleu: float  # that of the list's first one


def closest(hypotheses: Sequence[str], reference: str) -> Choice:
    """The hypothesis with the highest smoothed sentence-level BLEU (Kim and Rush 2016, section 3.3).

    BLEU counts words, with subword-nmt's marks (``@@``) joined, as a translation is judged: the cuts within
    words are no part of a translation. Text in other subwords is scored by those. Of equals, the model's
    favourite wins.

    Args:
        hypotheses: in subwords, at least one, by rank.
        reference: in subwords.
    """
    words = remove_bpe(reference)
    scores = [_CLOSENESS.sentence_score(remove_bpe(text), [words]).score for text in hypotheses]
    rank = scores.index(max(scores))
    return Choice(rank, scores[rank], scores[0])
