"""Marked words and the order of sentences, by hand; files that do not fit together are refused."""

import json

import pytest

from ikd_fairseq.analysis import cases
from ikd_fairseq.analysis.cases import (
    MISSING,
    RIGHT,
    WRONG,
    Corpus,
    load_corpus,
    make_case,
    mark_words,
    score_sentences,
    select_ends,
    sort_by_difference,
)
from ikd_fairseq.cli.analyse import main
from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import make_sentence_scorer

REFERENCES = ["ein hund läuft im schnee .", "zwei männer gehen heute .", "eine frau lacht .", "das ist rot ."]
FIRST = ["ein hund läuft im schnee .", "zwei frauen rennen .", "eine frau lacht .", "das ist rot ."]
SECOND = ["ein hund rennt .", "zwei männer gehen heute .", "eine frau lacht .", "das war rot ."]


def marks(translation, reference):
    return [(word.text, word.mark) for word in mark_words(translation, reference)]


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def write_generated(path, hypotheses, references=REFERENCES):
    """As fairseq-generate: longest first, three or four lines a sentence."""
    lines = []
    for place in reversed(range(len(hypotheses))):
        lines += [
            f"S-{place}\tsource {place}",
            f"T-{place}\t{references[place]}",
            f"H-{place}\t-0.5\t{hypotheses[place]}",
            f"D-{place}\t-0.5\t{hypotheses[place]}",
        ]
    return write(path, lines)


def test_words_in_the_order_of_the_reference_are_right_whatever_their_case():
    assert marks("Ein hund rennt im Schnee", "ein hund läuft im schnee") == [
        ("Ein", RIGHT),
        ("hund", RIGHT),
        ("rennt", WRONG),
        ("im", RIGHT),
        ("Schnee", RIGHT),
    ]


def test_a_word_left_out_is_missing_where_it_stands_in_the_reference():
    assert marks("ein hund schläft", "ein brauner hund schläft") == [
        ("ein", RIGHT),
        ("brauner", MISSING),
        ("hund", RIGHT),
        ("schläft", RIGHT),
    ]


def test_a_word_too_many_and_a_word_at_another_place_are_wrong():
    assert marks("a b b", "a b") == [("a", RIGHT), ("b", RIGHT), ("b", WRONG)]
    assert marks("c a b", "a b c") == [("c", WRONG), ("a", RIGHT), ("b", RIGHT), ("c", MISSING)]


def test_an_empty_translation_misses_every_word():
    assert marks("", "a b") == [("a", MISSING), ("b", MISSING)]


def test_a_frequent_word_of_a_long_sentence_is_aligned_too():
    """By itself difflib ignores, in long sequences, a word that makes up more than a hundredth."""
    words = " ".join(["der", "rote"] * 150)
    assert {mark for _, mark in marks(words, words)} == {RIGHT}


def test_largest_difference_comes_first_and_ties_by_number():
    scores = {"a": [10.0, 50.0, 30.0, 30.0], "b": [20.0, 10.0, 30.0, 30.0], "c": [99.0] * 4}
    assert sort_by_difference(scores) == [1, 2, 3, 0]


def test_ends_never_hold_ties_nor_the_same_sentence_twice():
    scores = {"a": [9.0, 5.0, 3.0, 1.0], "b": [2.0, 4.0, 3.0, 8.0]}
    assert select_ends(scores) == ([0, 1], [3])


def test_sentence_scores_are_those_of_a_perfect_and_an_empty_translation():
    corpus = Corpus({"a": ["das ist rot .", "Das"], "b": ["", "der"]}, ["das ist rot .", "das"])
    for metric in cases.METRICS:
        scores = score_sentences(corpus, make_sentence_scorer(metric))
        assert scores["a"] == pytest.approx([100, 100])  # a word alone has no bigrams
        assert scores["b"][0] == 0 and scores["b"][1] < 50


def test_case_tells_the_difference_of_the_first_two_systems():
    corpus = Corpus({"a": FIRST, "b": SECOND, "c": SECOND}, REFERENCES)
    case = make_case(corpus, {"a": [80.0] * 4, "b": [50.0] * 4, "c": [1.0] * 4}, 3)
    assert case.difference == 30 and case.source is None and case.reference == "das ist rot ."
    assert case.translations["b"] == mark_words("das war rot .", "das ist rot .")


def test_output_of_fairseq_brings_its_references_and_sources(tmp_path):
    first = write_generated(tmp_path / "first.txt", FIRST)
    plain = write(tmp_path / "second.txt", SECOND)
    second = write_generated(tmp_path / "second-generated.txt", SECOND)
    references = write(tmp_path / "references", REFERENCES)
    corpus = load_corpus([("a", first), ("b", second)])
    assert corpus == Corpus({"a": FIRST, "b": SECOND}, REFERENCES, [f"source {place}" for place in range(4)])
    assert load_corpus([("b", plain), ("a", first)], references).sources == corpus.sources
    sources = write(tmp_path / "sources", ["w@@ v", "x", "y", "z"])
    for join, line in ((False, "w@@ v"), (True, "wv")):
        joined = load_corpus([("b", plain), ("a", first)], references, sources, remove_bpe=join)
        assert joined.sources == [line, "x", "y", "z"]


@pytest.mark.parametrize(
    "content, references, message",
    [
        (SECOND, None, "second holds translations alone and needs --references FILE"),
        ([], REFERENCES, "second is empty"),
        (SECOND[:3], REFERENCES, "second has 3 sentences, but .*references has 4"),
        ([""] * 4, REFERENCES, "second: every translation in it is empty"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, content, references, message):
    first, second = write_generated(tmp_path / "first", FIRST), write(tmp_path / "second", content)
    with pytest.raises(IkdError, match=message):
        load_corpus([("a", first), ("b", second)], references and write(tmp_path / "references", references))


def test_outputs_for_different_test_sets_are_refused(tmp_path):
    first = write_generated(tmp_path / "first", FIRST)
    second = write_generated(tmp_path / "second", SECOND, ["etwas anderes"] * 4)
    with pytest.raises(IkdError, match="second and .*first hold different references"):
        load_corpus([("a", first), ("b", second)])


def test_sources_of_another_number_are_refused(tmp_path):
    files = [(name, write_generated(tmp_path / name, lines)) for name, lines in (("a", FIRST), ("b", SECOND))]
    with pytest.raises(IkdError, match="sources has 2 sentences, but .*a has 4"):
        load_corpus(files, sources=write(tmp_path / "sources", ["x", "y"]))


def test_command_writes_every_sentence_sorted_and_the_ends_with_marks(tmp_path, capsys):
    first, second = write_generated(tmp_path / "1", FIRST), write_generated(tmp_path / "2", SECOND)
    output = tmp_path / "new" / "cases"
    systems = ["--systems", "ikd", first, "--systems", "text", second]
    main(["cases", *systems, "--output", str(output), "--count", "1"])

    header, *rows = [line.split("\t") for line in (output / "cases.tsv").read_text().splitlines()]
    assert header[:4] == ["sentence", "difference", "score of ikd", "score of text"]
    assert header[4:] == ["source", "reference", "ikd", "text"]
    assert [row[0] for row in rows] == ["0", "3", "2", "1"]  # 3 is short: one word costs it less than 0 lost
    assert rows[2][1] == "0" and rows[0][4:] == ["source 0", REFERENCES[0], FIRST[0], SECOND[0]]

    found = json.loads((output / "cases.json").read_text())
    assert found["sentences"] == {"all": 4, "better": 2, "worse": 1}
    ((win,), (loss,)) = found["wins"], found["losses"]
    assert (win["sentence"], loss["sentence"]) == (0, 1)
    assert win["difference"] == win["scores"]["ikd"] - win["scores"]["text"] > 0
    assert [word["mark"] for word in win["translations"]["text"]] == [RIGHT, RIGHT, WRONG, RIGHT]
    page = (output / "cases.html").read_text(encoding="utf-8")
    assert "ikd wins against text" in page and "ikd loses against text" in page
    assert "<dt>source</dt><dd>source 0</dd>" in page and "zwei männer gehen heute ." in page
    assert '<mark class="word-wrong">frauen rennen</mark>' in page  # neighbours of one mark are one piece
    assert len(list(output.iterdir())) == 3
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["sentence", "0", "1"]


def test_command_shows_the_sentences_asked_for_in_their_order(tmp_path, capsys):
    systems = []
    for name, lines in (("ikd", FIRST), ("text", SECOND)):
        systems += ["--systems", name, write_generated(tmp_path / name, lines)]
    output = tmp_path / "cases"
    assert not main(["cases", *systems, "--output", str(output), "--sentences", "2", "0"])  # 2 is a tie
    found = json.loads((output / "cases.json").read_text())
    assert [case["sentence"] for case in found["chosen"]] == [2, 0] and "wins" not in found
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["sentence", "2", "0"]

    assert main(["cases", *systems, "--output", str(output), "--sentences", "4"]) == 1
    assert "--sentences 4: the test set has 4 sentences, numbered 0 to 3" in capsys.readouterr().err


def test_names_and_translations_are_never_markup(tmp_path):
    evil = "<script>alert('a' & \"b\")</script>"
    systems = []
    for name, lines in ((f"{evil}1", [evil, *FIRST[1:]]), (f"{evil}2", SECOND)):
        path = tmp_path / name[-1]
        systems += ["--systems", name, write_generated(path, lines, [f"{evil} {evil}", *REFERENCES[1:]])]
    assert not main(["cases", *systems, "--output", str(tmp_path / "out")])
    page = (tmp_path / "out" / "cases.html").read_text(encoding="utf-8")
    assert "<script" not in page and page.count("&lt;script&gt;") > 6
    assert 'class="word-missing">[&lt;script' in page


@pytest.mark.parametrize(
    "names, message",
    [
        (["a"], "one system has nothing to differ from"),
        (["a", "a"], "two systems are called a"),
        (["a", "b"], "a and b score the same in every sentence: name some"),
    ],
)
def test_systems_that_cannot_be_compared_are_refused(tmp_path, capsys, names, message):
    path = write_generated(tmp_path / "1", FIRST)
    options = [value for name in names for value in ("--systems", name, path)]
    assert main(["cases", *options, "--output", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
