"""N-best lists come back whole and in order or not at all, and the choice by BLEU is the one made by hand."""

import pytest

from ikd_fairseq.distillation.nbest import closest, read_nbest
from ikd_fairseq.errors import IkdError


def block(sentence: int, *hypotheses: str) -> str:
    """What fairseq-generate prints of a sentence, scores falling from -0.5."""
    lines = [f"S-{sentence}\tsource {sentence}", f"T-{sentence}\ttarget {sentence}"]
    for rank, text in enumerate(hypotheses):
        lines += [f"{kind}-{sentence}\t-{rank}.5\t{text}" for kind in "HD"] + [f"P-{sentence}\t-0.1 -0.2"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def write(tmp_path):
    def write(*contents: str):
        paths = [str(tmp_path / f"shard-{number}.txt") for number in range(len(contents))]
        for path, content in zip(paths, contents):
            with open(path, "w", encoding="utf-8", newline="") as stream:
                stream.write(content)
        return paths

    return write


def test_order_and_count_are_the_splits_though_generate_sorts_by_length_and_shards(write):
    paths = write(
        "2026-01-01 | INFO | a log line\n" + block(3, "d", "D") + block(0, "a", "A"),
        block(2, "c", "C") + block(1, "b", "B") + "Generate train with beam=2: BLEU4 = 1.0\n",
    )
    nbest = read_nbest(paths)
    assert nbest.in_order(4, 2) == [["a", "A"], ["b", "B"], ["c", "C"], ["d", "D"]]
    assert nbest.in_order(4, 1) == [["a"], ["b"], ["c"], ["d"]]
    assert nbest.sources == {number: f"source {number}" for number in range(4)}
    assert nbest.files == {3: paths[0], 0: paths[0], 2: paths[1], 1: paths[1]}


def test_text_is_kept_to_the_letter(write):
    text = "grö@@ ße \u2028 <unk> \x85 „ a@@ \tb"
    assert read_nbest(write(block(0, text))).in_order(1, 1) == [[text]]


def test_output_without_sources_is_read(write):
    (path,) = write("H-1\t-0.1\tb\nH-0\t-0.1\ta\nH-0\t-0.2\tA\n")
    assert read_nbest([path]).hypotheses == {1: ["b"], 0: ["a", "A"]}


def test_a_shard_that_got_no_sentence_does_no_harm(write):
    assert read_nbest(write(block(0, "a"), "a log line\n")).in_order(1, 1) == [["a"]]


@pytest.mark.parametrize(
    "contents, words",
    [
        ([block(0, "a", "b") + block(2, "a", "b")], ["3 sentences", "missing: 1", "every shard"]),
        ([block(0, "a", "b") + block(1, "a", "b")], ["missing: 2"]),
        ([block(7, "a", "b")], ["sentence 7", "the split has 3"]),
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
        read_nbest(paths).in_order(3, 2)
    for word in [*words, paths[0]]:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    "contents",
    [
        [block(0, "a") + block(1, "b") + block(0, "a")],
        [block(0, "a"), block(1, "b") + block(0, "a")],
        [block(0, "a") + block(0, "a")],  # side by side they would pass for a longer list
        ["H-0\t-1\ta\nH-1\t-1\ta\nH-0\t-1\ta\n"],
    ],
)
def test_a_sentence_that_comes_twice_is_refused(write, contents):
    with pytest.raises(IkdError, match=r"line \d+: sentence 0 \(from 0\) is there twice"):
        read_nbest(write(*contents))


def test_a_file_that_is_cut_off_or_is_no_such_output_is_refused(write, tmp_path):
    with pytest.raises(IkdError, match="line 3: the line is cut off"):
        read_nbest(write("S-0\ta\nH-0\t-1\ta\nH-0\t-1\tb"))
    with pytest.raises(IkdError, match="no hypotheses"):
        read_nbest(write("nothing\n"))
    with pytest.raises(IkdError, match="cannot be read"):
        read_nbest([str(tmp_path / "nowhere")])
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\n")
    with pytest.raises(IkdError, match="not UTF-8"):
        read_nbest([str(tmp_path / "bytes")])


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
