"""N-best lists in the order of the split: what is missing, unknown, short or empty is refused."""

import pytest

from ikd_fairseq.distillation.selection import nbest_lists
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.generate_output import read_generate_output
from tests.generated import block


def test_order_and_count_are_the_splits_though_generate_sorts_by_length_and_shards(write):
    paths = write(block(3, "d", "D") + block(0, "a", "A"), block(2, "c", "C") + block(1, "b", "B"))
    output = read_generate_output(*paths)
    assert nbest_lists(output, 4, 2) == [["a", "A"], ["b", "B"], ["c", "C"], ["d", "D"]]
    assert nbest_lists(output, 4, 1) == [["a"], ["b"], ["c"], ["d"]]


@pytest.mark.parametrize(
    "contents, words",
    [
        ([block(0, "a", "b") + block(2, "a", "b")], ["of 1 of 3 sentences (ids 1)", "every part"]),
        ([block(0, "a", "b") + block(1, "a", "b")], ["of 1 of 3 sentences (ids 2)"]),
        ([block(7, "a", "b")], ["of 3 and above (7)", "has 3 sentences"]),
        (
            [block(0, "a", "b") + block(1, "a") + block(2, "a", "b")],
            ["sentence 1", "has 1 hypotheses", "--nbest 2"],
        ),
        (
            [block(0, "a", "b") + block(1, "a", "") + block(2, "a", "b")],
            ["hypothesis 2", "sentence 1", "empty"],
        ),
    ],
)
def test_missing_unknown_short_and_empty_are_refused_by_number(write, contents, words):
    paths = write(*contents)
    with pytest.raises(IkdError) as refused:
        nbest_lists(read_generate_output(*paths), 3, 2)
    for word in [*words, paths[0]]:
        assert word in str(refused.value)
