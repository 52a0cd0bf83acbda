"""Shuffles that leave no sentence its own image, and the table of what they change."""

import statistics

import numpy as np
import pytest

from ikd_fairseq.analysis import incongruent
from ikd_fairseq.analysis.features import Trained
from ikd_fairseq.analysis.incongruent import (
    MEAN,
    NONE,
    OWN,
    check_shuffling,
    derangement,
    draw,
    load_image_must,
    table_of,
)
from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.significance import compare_scores
from tests import toy


@pytest.mark.parametrize(
    "images",
    [[0, 1], [5, 7, 9], [0, 0, 1, 1], [3, 3, 3, 1, 2, 4], [2, 1, 2, 1, 0], list(range(40)), [0, 1] * 10],
    ids=str,
)
def test_every_sentence_gets_another_image_and_every_image_is_given_as_often_as_before(images):
    images = np.array(images)
    for seed in range(50):
        others = derangement(images, np.random.default_rng(seed))
        assert sorted(others) == list(range(len(images)))
        assert (images[others] != images).all()


def test_shuffles_differ_and_a_seed_repeats_them():
    images = np.arange(20)
    random, again = (np.random.default_rng(3) for _ in range(2))
    first, second = derangement(images, random), derangement(images, random)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, derangement(images, again))


def test_every_other_image_is_as_likely():
    random = np.random.default_rng(1)
    given = np.array([derangement(np.arange(5), random)[0] for _ in range(4000)])
    assert np.bincount(given, minlength=5)[1:] == pytest.approx(1000, abs=120)  # 4 standard deviations
    assert 0 not in given


def test_images_that_cannot_be_shuffled_are_refused():
    check_shuffling(np.array([0, 0, 1, 2]), "test")
    with pytest.raises(IkdError, match="sentences of test have 1 image between them"):
        check_shuffling(np.array([4, 4, 4]), "test")
    with pytest.raises(IkdError, match="3 of the 5 sentences with an image in test share one"):
        check_shuffling(np.array([4, 1, 4, 2, 4]), "test")


def test_model_that_needs_no_image_is_refused(monkeypatch):
    def load_trained(name, data, device, image_free):
        model = toy.ikd_model() if name == "ikd.pt" else toy.image_must_model()
        return Trained(model, toy.toy_task(), data, "random", device)

    monkeypatch.setattr(incongruent, "load_trained", load_trained)
    assert load_image_must("must.pt", "data", "cpu").model.requires_images
    with pytest.raises(IkdError, match=r"ikd.pt \(IKDTransformerModel\) .* never looks at any"):
        load_image_must("ikd.pt", "data", "cpu")


def a_table(shuffled, none=True):
    names = [f"another's, shuffle {number}" for number in range(1, len(shuffled) + 1)]
    own = ["a", "b", "c", "d"]
    translations = {OWN: own, **{name: ["a", "b", "c", "x"] for name in names}}
    scores, p_values = {OWN: [30.0], **{name: [bleu] for name, bleu in zip(names, shuffled)}}, {}
    if none:
        translations[NONE], scores[NONE] = ["a", "y", "c", "x"], [29.5]
    p_values = {name: [0.25] for name in scores if name != OWN}
    return table_of(translations, compare_scores("BLEU", "signature", scores, p_values))


def test_shuffles_are_followed_by_their_mean_and_sample_deviation():
    own, first, second, third, mean, none = a_table([28.0, 29.0, 31.0]).rows
    assert own == (OWN, 30.0, "", "", "", "")
    assert first == ("another's, shuffle 1", 28.0, "", -2.0, 25.0, 0.25)
    assert third[3] == 1.0
    deviation = statistics.stdev([28.0, 29.0, 31.0])
    assert mean == (MEAN, pytest.approx(88 / 3), pytest.approx(deviation), pytest.approx(-2 / 3), 25.0, "")
    assert none == (NONE, 29.5, "", -0.5, 50.0, 0.25)


def test_a_single_shuffle_has_no_deviation_and_a_model_without_text_no_text_path():
    own, only, mean = a_table([28.0], none=False).rows
    assert mean == (MEAN, 28.0, "", -2.0, 25.0, "")


@pytest.mark.parametrize("shuffled, none", [([28.0, 29.0], True), ([28.0], False)])
def test_points_of_the_picture_are_the_figures_of_the_table(shuffled, none):
    pytest.importorskip("matplotlib")
    (axes,) = draw(a_table(shuffled, none)).axes
    points = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert points == [[30.0], shuffled] + [[29.5]] * none
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["image: own", "image: another's"] + ["image: none"] * none
