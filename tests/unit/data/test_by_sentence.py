"""Which sentence has which row, of one array and of several."""

import numpy as np
import pytest

from ikd_fairseq.constants import NO_IMAGE
from ikd_fairseq.data.by_sentence import BySentence

SHAPE = (2, 3)


def entries(*values):
    """Entry i is filled with value i; None is no entry."""
    return BySentence.of([None if v is None else np.full(SHAPE, v) for v in values], SHAPE, np.float16)


def values(found):
    return [
        None if entry is None else int(entry[0, 0]) for entry in map(found.__getitem__, range(len(found)))
    ]


@pytest.fixture
def several():
    """As fairseq's text of train, train twice, train1 without images, train2."""
    first = entries(4, None, 5)
    return BySentence.joined([first, first, BySentence(np.full(2, NO_IMAGE)), entries(None, 6)])


def test_an_entry_or_none_by_sentence():
    found = entries(None, 7, None, 8)
    assert values(found) == [None, 7, None, 8]
    assert found.with_entry.tolist() == [1, 3] and found.coverage == 2
    assert found[1].shape == SHAPE and found[1].dtype == np.float16


def test_several_arrays_follow_each_other(several):
    assert values(several) == [4, None, 5, 4, None, 5, None, None, None, 6]
    assert several.coverage == 5


@pytest.mark.parametrize("wanted", [[9, 0, 1, 5], [1, 6], [3, 3], []])
def test_taken_at_once_as_one_by_one(several, wanted):
    places, found = several.take(np.array(wanted, dtype=np.int64))
    alone = [several[sentence] for sentence in wanted]
    assert places.tolist() == [place for place, entry in enumerate(alone) if entry is not None]
    assert found.shape == (len(places), *SHAPE) and found.dtype == np.float16
    np.testing.assert_array_equal(found, np.array([alone[p] for p in places]).reshape(-1, *SHAPE))


def test_what_is_taken_can_be_written_to_and_the_rows_stay():
    found = entries(1, 2)
    found.take(np.array([0]))[1][:] = 9
    assert values(found) == [1, 2]


def test_sentences_with_each_others_entries(several):
    assert values(several.reordered(np.array([9, 0, 1]))) == [6, 4, None]


def test_a_share_is_drawn_by_seed_and_a_smaller_one_lies_within_a_larger():
    everything = BySentence.of([np.zeros(SHAPE)] * 4000 + [None] * 1000, SHAPE, np.float16)
    kept = {share: everything.thinned(share, 1).index != NO_IMAGE for share in (0, 0.25, 0.5, 1)}
    assert not kept[0].any() and (kept[1] == (everything.index != NO_IMAGE)).all()
    assert (kept[0.25] <= kept[0.5]).all()
    assert abs(kept[0.25].sum() - 1000) < 150  # five standard deviations
    assert (everything.thinned(0.5, 1).index == everything.thinned(0.5, 1).index).all()
    assert (everything.thinned(0.5, 1).index != everything.thinned(0.5, 2).index).any()
