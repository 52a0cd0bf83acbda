"""Output of fairseq-generate in all its forms: n-best lists, shards, log lines, and every kind of damage."""

import os

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.generate_output import decoding_speed, is_generate_output, read_generate_output
from tests.generated import block
from tests.generated import write as write_text


def test_final_hypotheses_win_over_raw_ones(tmp_path):
    text = "S-0\ta\nT-0\tb\nH-0\t-1\tein ma@@ nn\nD-0\t-1\tein mann\nP-0\t-1\n"
    assert read_generate_output(write_text(tmp_path / "gen.txt", text)).hypotheses == {0: "ein mann"}


def test_text_keeps_its_tabs_separators_and_emptiness(tmp_path):
    text = "S-0\ta\tb\nT-0\tc\u2028d\x0b\nH-0\t-1.5\te\tf\nS-1\t\nT-1\t\nH-1\t-1.5\t\n"
    output = read_generate_output(write_text(tmp_path / "gen.txt", text))
    assert output.sources == {0: "a\tb", 1: ""}
    assert output.references == {0: "c\u2028d\x0b", 1: ""}
    assert output.hypotheses == {0: "e\tf", 1: ""}


def test_the_first_of_several_hypotheses_counts(tmp_path):
    text = "S-0\ta\nH-0\t-1\tbest\nD-0\t-1\tbest\nP-0\t-1\nH-0\t-2\tworse\nD-0\t-2\tworse\nP-0\t-2\n"
    assert read_generate_output(write_text(tmp_path / "gen.txt", text)).hypotheses == {0: "best"}


def test_n_best_lists_are_read_from_parts_in_any_order(write):
    paths = write(
        "2026-01-01 | INFO | a log line\n" + block(3, "d", "D") + block(0, "a", "A"),
        block(2, "c", "C") + block(1, "b", "B") + "Generate train with beam=2: BLEU4 = 1.0\n",
    )
    output = read_generate_output(*paths)
    assert output.raw == output.final == {3: ["d", "D"], 0: ["a", "A"], 2: ["c", "C"], 1: ["b", "B"]}
    assert output.sources == {number: f"source {number}" for number in range(4)}
    assert output.files == {3: paths[0], 0: paths[0], 2: paths[1], 1: paths[1]}


def test_text_is_kept_to_the_letter(write):
    text = "grö@@ ße \u2028 <unk> \x85 „ a@@ \tb"
    assert read_generate_output(*write(block(0, text))).raw == {0: [text]}


def test_output_without_sources_is_read(write):
    (path,) = write("H-1\t-0.1\tb\nH-0\t-0.1\ta\nH-0\t-0.2\tA\n")
    assert read_generate_output(path).raw == {1: ["b"], 0: ["a", "A"]}


def test_a_shard_that_got_no_sentence_does_no_harm(write):
    assert read_generate_output(*write(block(0, "a"), "a log line\n")).raw == {0: ["a"]}


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
    with pytest.raises(IkdError, match=r"line \d+: sentence 0 is there twice"):
        read_generate_output(*write(*contents))


@pytest.mark.parametrize(
    "lines", ["H-0\t-1\ta\nD-0\t-1\ta\nD-0\t-1\ta\n", "H-0\t-1\ta\nH-0\t-1\ta\nP-0\t-1\n"]
)
def test_lines_of_a_sentence_that_do_not_go_together_are_refused(write, lines):
    with pytest.raises(IkdError, match="sentence 0 has not as many H-, D- and P- lines"):
        read_generate_output(*write(lines))


def test_a_file_that_is_cut_off_or_is_no_such_output_is_refused(write, tmp_path):
    with pytest.raises(IkdError, match="line 3: the line is cut off"):
        read_generate_output(*write("S-0\ta\nH-0\t-1\ta\nH-0\t-1\tb"))
    with pytest.raises(IkdError, match="no hypotheses"):
        read_generate_output(*write("nothing\n"))
    with pytest.raises(IkdError, match="cannot be read"):
        read_generate_output(str(tmp_path / "nowhere"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IkdError, match="pipe is a pipe or a device, not a file"):
        read_generate_output(str(tmp_path / "pipe"))
    for number in ("3000000000", "9" * 5000):
        with pytest.raises(IkdError, match=f"line 1: {number[:20]} is the number of no sentence"):
            read_generate_output(*write(f"H-{number}\t-1\ta\n"))
    with pytest.raises(IkdError, match="line 1: a score is no number"):
        read_generate_output(*write("P-0\t-1 x\n"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\n")
    with pytest.raises(IkdError, match="not UTF-8"):
        read_generate_output(str(tmp_path / "bytes"))


def test_log_lines_tell_how_many_sentences_there_are_were_skipped_and_how_fast(write):
    loaded = "2026 | INFO | fairseq.tasks.translation | data test en-de {} examples\n"
    skipped = "2026 | WARNING | 1 samples have invalid sizes and will be skipped, max_positions=(4, 4)\n"
    clock = "in 2.0s (1,501.25 sentences/s, 2.0 tokens/s)"
    speed = f"2026 | INFO | Translated 1,002 sentences (9,000 tokens) {clock}\n"
    first, second, silent = write(
        loaded.format(3) + skipped + block(0, "a") + speed, loaded.format(4) + block(1, "b"), block(2, "c")
    )
    output = read_generate_output(first, silent)
    assert output.loaded == 3 and output.skipped == [skipped[:-1]]
    assert decoding_speed(first) == 1501.25
    assert decoding_speed(silent) is None and decoding_speed("nowhere") is None
    with pytest.raises(IkdError, match="shard-1.txt is of a test set of 4 sentences, but .* of one of 3"):
        read_generate_output(first, second)


def test_probabilities_are_those_of_the_best_hypothesis_as_a_whole(write):
    (path,) = write("H-0\t-1\ta\nP-0\t-1.0 -2.0\nH-0\t-2\tb\nP-0\t-3.0\nH-1\t0\t\nP-1\t0.0\n")
    output = read_generate_output(path)
    assert output.token_scores == {0: [[-1.0, -2.0], [-3.0]], 1: [[0.0]]}
    assert output.probabilities == {0: 0.125, 1: 1.0}


def test_output_is_told_from_plain_text_by_its_lines(write):
    generated, plain = write("a log line\n" + block(0, "a"), "H-mark\nS-\n")
    assert is_generate_output(generated) and not is_generate_output(plain)
