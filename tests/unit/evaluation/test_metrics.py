"""BLEU against a plain implementation, the two presets, and the choice of the closest hypothesis."""

import pytest

from ikd_fairseq.evaluation.metrics import closest, compute_scores
from tests.generated import HYPOTHESES, REFERENCES, plain_bleu


def test_tokenised_bleu_equals_a_plain_implementation():
    scores = compute_scores(HYPOTHESES, REFERENCES)
    assert scores["bleu"]["score"] == pytest.approx(plain_bleu(HYPOTHESES, REFERENCES), abs=1e-9)
    assert 0 < scores["bleu"]["score"] < 100


def test_tokenised_preset_ignores_case_and_leaves_tokens_alone():
    for metric, best in (("bleu", 100), ("chrf", 100), ("ter", 0)):
        lines = ["Ein Mann , der läuft ."]
        upper = compute_scores([lines[0].upper()], lines, metrics=[metric])[metric]["score"]
        assert upper == pytest.approx(best)
    # 13a would split the comma off; here "mann," is one token that differs.
    apart = compute_scores(["ein mann, der läuft ."], ["ein mann , der läuft ."], metrics=["bleu"])
    assert apart["bleu"]["score"] < 100


def test_detokenised_preset_minds_case_and_splits_punctuation():
    joined, apart = ["Ein Mann, der läuft."], ["Ein Mann , der läuft ."]
    assert compute_scores(joined, apart, "detokenised")["bleu"]["score"] == pytest.approx(100)
    assert compute_scores(["ein mann, der läuft."], joined, "detokenised")["bleu"]["score"] < 100


def test_signatures_tell_the_settings():
    tokenised = compute_scores(HYPOTHESES, REFERENCES, "tokenised")
    assert tokenised["bleu"]["signature"].startswith("nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:")
    assert "case:lc" in tokenised["chrf"]["signature"] and "case:lc" in tokenised["ter"]["signature"]
    detokenised = compute_scores(HYPOTHESES, REFERENCES, "detokenised")
    assert detokenised["bleu"]["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|")


def test_the_known_best_of_a_list_made_by_hand_is_chosen():
    reference = "ein mann fährt mit dem rad durch die stadt"
    hypotheses = [
        "eine frau geht mit dem hund in den park",  # two words in a row
        "der mann fährt mit dem rad durch eine stadt",  # six in a row
        "ein mann fährt mit dem rad durch die strasse",  # all but the last word
        "ein mann",  # all right, far too short
    ]
    choice = closest(hypotheses, reference)
    assert choice.rank == 2
    # By hand: of the 9, 8, 7 and 6 n-grams of orders 1 to 4, 8, 7, 6 and 5 match; lengths are equal.
    assert choice.bleu == pytest.approx(100 * (8 / 9 * 7 / 8 * 6 / 7 * 5 / 6) ** 0.25)
    assert 0 < choice.first_bleu < choice.bleu


def test_an_order_without_a_match_is_smoothed_and_short_sentences_count_their_own_orders():
    # Of 3, 2 and 1 n-grams 2, 1 and 0 match; the last counts as half of one (Chen and Cherry, method 3).
    assert closest(["a b x"], "a b c").bleu == pytest.approx(100 * (2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3))
    assert closest(["a"], "a").bleu == pytest.approx(100)


def test_words_count_not_the_cuts_within_them():
    # Subword by subword the first has more matches; as words only the second has.
    reference = "a@@ b@@ c d@@ e f"
    choice = closest(["a@@ b@@ x d@@ y f", "abc de x"], reference)
    assert choice.rank == 1
    assert closest(["abc de f"], reference).bleu == pytest.approx(100)


def test_of_equals_the_models_favourite_is_chosen():
    assert closest(["x y", "a b", "a b", "z"], "a b").rank == 1
    assert closest(["x", "y"], "a") == (0, 0.0, 0.0)
