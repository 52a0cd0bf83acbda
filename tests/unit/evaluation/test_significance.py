"""Comparison over runs: p against tests that enumerate or resample by hand, means and deviations by hand."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.significance import Outcome, compare_runs, compare_scores

REFERENCES = [
    f"der {noun} {verb} heute mit einem {noun} im großen garten ."
    for noun in ("hund", "ball", "mann")
    for verb in ("spielt", "läuft", "steht", "ruht")
]
GOOD = [line.replace("heute", "nun") if place % 3 == 0 else line for place, line in enumerate(REFERENCES)]
POOR = [line.replace("garten .", "haus") for line in REFERENCES]
MIXED = [line.replace("großen", "alten") if place % 2 else line for place, line in enumerate(REFERENCES)]


def scorers():
    return {"bleu": BLEU(tokenize="none", lowercase=True, force=True)}


def sentence_counts(hypotheses):
    """Per sentence: matched and all n-grams of each order, and the two lengths: N x 10."""
    rows = []
    for hypothesis, reference in zip(hypotheses, REFERENCES):
        hypothesis, reference = hypothesis.split(), reference.split()
        row = []
        for order in range(1, 5):
            mine, theirs = (
                Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
                for words in (hypothesis, reference)
            )
            row += [sum((mine & theirs).values()), sum(mine.values())]
        rows.append([*row, len(hypothesis), len(reference)])
    return np.array(rows)


def bleu(counts):
    """BLEU of the summed counts of some sentences (Papineni et al. 2002)."""
    *grams, own, reference = counts.sum(axis=0)
    precisions = [matched / every for matched, every in zip(grams[::2], grams[1::2])]
    return 100 * min(1, math.exp(1 - reference / own)) * math.exp(sum(map(math.log, precisions)) / 4)


def compare(baseline, system, **options):
    return compare_runs({"base": baseline, "new": system}, REFERENCES, scorers(), **options)["bleu"].outcomes


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
def test_clear_difference_is_significant_and_a_copy_is_not(test):
    better = compare([POOR], [REFERENCES], test=test, trials=300)["new"]
    assert better.p_values[0] < 0.01 and better.mark == "‡" and better.difference > 0
    worse = compare([REFERENCES], [POOR], test=test, trials=300)["new"]
    assert worse.p_values[0] < 0.01 and worse.mark == "‡" and worse.difference < 0
    copy = compare([POOR], [POOR], test=test, trials=300)["new"]
    assert copy.p_values == (1,) and copy.mark == "" and copy.difference == 0


def test_randomisation_agrees_with_all_the_ways_to_swap_sentences():
    first, second = sentence_counts(GOOD), sentence_counts(MIXED)
    observed = abs(bleu(first) - bleu(second))
    apart = []
    for swapped in itertools.product([False, True], repeat=len(REFERENCES)):
        swap = np.array(swapped)[:, None]
        apart.append(abs(bleu(np.where(swap, second, first)) - bleu(np.where(swap, first, second))))
    exact = np.mean(np.array(apart) >= observed - 1e-9)
    assert 0.05 < exact < 0.95  # or the comparison would tell little
    p_value = compare([GOOD], [MIXED], test="randomisation", trials=3000)["new"].p_values[0]
    assert p_value == pytest.approx(exact, abs=0.03)


def test_bootstrap_agrees_with_a_plain_one():
    """As the Moses script: differences of resamples, moved to a mean of zero, against the observed one."""
    first, second = sentence_counts(GOOD), sentence_counts(MIXED)
    generator = np.random.default_rng(0)
    draws = generator.integers(len(REFERENCES), size=(2000, len(REFERENCES)))
    apart = np.array([abs(bleu(first[draw]) - bleu(second[draw])) for draw in draws])
    plain = np.mean(apart - apart.mean() >= abs(bleu(first) - bleu(second)))
    p_value = compare([GOOD], [MIXED])["new"].p_values[0]
    assert plain > 0.05 and p_value == pytest.approx(plain, abs=0.05)


def test_scores_are_those_of_a_plain_bleu():
    outcomes = compare([GOOD, MIXED], [MIXED, POOR], trials=100)
    assert outcomes["base"].scores == pytest.approx([bleu(sentence_counts(text)) for text in (GOOD, MIXED)])
    assert outcomes["new"].scores == pytest.approx([bleu(sentence_counts(text)) for text in (MIXED, POOR)])


@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
@pytest.mark.parametrize("unlike, least", [(1, 1.0), (2, 0.5), (4, 0.125)])
def test_few_differing_sentences_are_never_significant(unlike, least, test):
    """Each swap but all or none brings the systems closer, so exactly 2 of 2 ** unlike are as far apart."""
    nearly = [*map(str.title, REFERENCES[:-unlike]), *POOR[-unlike:]]  # lower-cased, so that case is nothing
    outcome = compare([REFERENCES], [nearly], test=test, trials=500)["new"]
    assert outcome.p_values[0] >= least and outcome.mark == ""
    assert outcome.p_values == (least,) or test == "bootstrap"


def test_a_bootstrap_of_one_sentence_is_not_significant():
    scored = compare_runs(
        {"base": [POOR[:1]], "new": [REFERENCES[:1]]}, REFERENCES[:1], scorers(), trials=100
    )
    assert scored["bleu"].outcomes["new"].p_values == (1,)


def test_the_bootstrap_has_one_tail_and_the_randomisation_two():
    """Of 43 faults against 27 in other sentences: 16 / sqrt(70) = 1.9 deviations, 0.029 on one side."""
    words = "der hund spielt heute mit einem ball im großen garten".split()
    generator = np.random.default_rng(3)
    references = [" ".join(generator.permutation(words)) for _ in range(400)]
    spoilt = [line.replace("hund", "tier") for line in references]
    base, new = spoilt[:43] + references[43:], references[:373] + spoilt[373:]
    single, double = (
        compare_runs({"base": [base], "new": [new]}, references, scorers(), test, 2000)["bleu"]
        .outcomes["new"]
        .p_values[0]
        for test in ("bootstrap", "randomisation")
    )
    assert single == pytest.approx(0.029, abs=0.015) and double == pytest.approx(0.057, abs=0.02)


def test_run_i_is_tested_against_run_i():
    straight = compare([POOR, GOOD], [REFERENCES, GOOD], trials=300)["new"]
    assert straight.p_values[0] < 0.01 and straight.p_values[1] == 1
    assert straight.differences[0] > 0 and straight.differences[1] == 0
    turned = compare([GOOD, POOR], [REFERENCES, GOOD], trials=300)["new"]
    assert turned.p_values[1] < 0.01 and 0 not in turned.differences


def test_p_values_repeat_and_do_not_depend_on_other_systems():
    runs = {"base": [GOOD], "mixed": [MIXED], "poor": [POOR]}
    together = compare_runs(runs, REFERENCES, scorers(), trials=200)["bleu"].outcomes
    assert list(together) == ["base", "mixed", "poor"]
    for name in ("mixed", "poor"):
        assert together[name].p_values == compare([GOOD], runs[name], trials=200)["new"].p_values


def test_mean_and_sample_deviation_by_hand():
    scores = {"base": [40.0, 42.0], "new": [42.0, 43.0]}
    comparison = compare_scores("BLEU", "signature", scores, {"new": [0.2, 0.3]})
    base, new = comparison.outcomes.values()
    assert base.mean == 41 and base.deviation == pytest.approx(math.sqrt(2)) and base.difference is None
    assert new.mean == 42.5 and new.difference == 1.5 and new.deviation == pytest.approx(math.sqrt(0.5))
    assert Outcome((1.0, 2.0, 6.0)).deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert Outcome((41.0,)).deviation is None


@pytest.mark.parametrize(
    "differences, p_values, mark",
    [
        ((1, 1, 1), (0.001, 0.002, 0.009), "‡"),
        ((1, 1, 1), (0.001, 0.002, 0.01), "†"),
        ((-1, -1), (0.001, 0.049), "†"),
        ((1, 1), (0.001, 0.05), ""),
        ((1, -1), (0.001, 0.001), ""),  # both significant, in opposite directions
        ((1, 1), (), ""),  # not tested
    ],
)
def test_every_pair_has_to_earn_the_mark(differences, p_values, mark):
    assert Outcome((41.0,) * len(differences), differences, p_values).mark == mark


def test_printed_rows_tell_deviation_difference_mark_and_p():
    scores = {"text": [40.0, 42.0], "ikd": [42.0, 44.0]}
    assert str(compare_scores("BLEU", "signature", scores, {"ikd": [0.001, 0.04]})).splitlines() == [
        "BLEU  signature",
        "  text   41.00 ± 1.41  (2 runs)",
        "  ikd    43.00 ± 1.41  (2 runs)  +2.00†  p = 0.0010, 0.0400",
    ]
    assert str(compare_scores("METEOR", "signature", {"text": [58.0], "ikd": [57.5]})).splitlines() == [
        "METEOR  signature",
        "  text   58.00 (1 run: no deviation)",
        "  ikd    57.50 (1 run: no deviation)  -0.50  not tested",
    ]


def test_unequal_numbers_of_runs_are_refused():
    with pytest.raises(IkdError, match=r"as many runs as the baseline, not \{'base': 2, 'new': 1\}"):
        compare([GOOD, MIXED], [POOR])
