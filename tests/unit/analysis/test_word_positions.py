"""Which words are found: by annotation, by a list, and as nouns of phrases that a stand-in marks."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from ikd_fairseq.analysis.word_positions import (
    BASIC_COLOURS,
    annotated_positions,
    listed_positions,
    noun_positions,
    read_words,
)
from ikd_fairseq.errors import IkdError

SENTENCES = ["two young White males".split(), "a dog .".split(), "an orange on orange cloth".split()]


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_positions_of_several_files_are_united_sentence_by_sentence(tmp_path):
    files = [write(tmp_path / "a", "3 ", "-1", "1 4"), write(tmp_path / "b", "1 3", "1", "-1")]
    assert annotated_positions(SENTENCES, files) == [{1, 3}, {1}, {1, 4}]
    assert annotated_positions(SENTENCES, files[:1]) == [{3}, set(), {1, 4}]


@pytest.mark.parametrize(
    "lines, sentence",
    [
        (["3", "-1"], "p has 2 lines, but the splits 3 sentences together"),
        (["3", "-1", "-1", "-1"], "p has 4 lines, but the splits 3 sentences"),
        (["-1", "3", "-1"], r"p, line 2: position 3 is outside of its sentence, whose 3 words.*'a dog \.'"),
        (["-1", "-1", "1 -1"], "p, line 3: '-1' is no position"),
        (["x", "-1", "-1"], "p, line 1: 'x' is no position"),
        (["-1", "", "-1"], "p, line 2: an empty line"),
    ],
)
def test_annotation_that_does_not_fit_is_refused_with_file_and_line(tmp_path, lines, sentence):
    with pytest.raises(IkdError, match=sentence):
        annotated_positions(SENTENCES, [write(tmp_path / "p", *lines)])


def test_listed_words_are_found_wherever_they_stand_and_in_any_case():
    assert listed_positions(SENTENCES, BASIC_COLOURS) == [{2}, set(), {1, 3}]
    assert listed_positions(SENTENCES, ["dog"]) == [set(), {1}, set()]


def test_a_list_has_one_word_a_line(tmp_path):
    assert read_words(write(tmp_path / "colours", "Red", " blue ")) == ["red", "blue"]
    for bad in ("dark blue", ""):
        with pytest.raises(IkdError, match=f"colours, line 2: '{bad}' is not one word"):
            read_words(write(tmp_path / "colours", "red", bad))


@pytest.fixture
def spacy(monkeypatch):
    """A stand-in of spaCy whose phrases are all words but the first, and whose nouns are the long words."""
    module, tokens = ModuleType("spacy"), ModuleType("spacy.tokens")

    def phrases(vocab, words):
        parts = ["NOUN" if len(word) > 4 else "X" for word in words]
        tagged = [SimpleNamespace(i=i, pos_=part) for i, part in enumerate(parts)]
        return SimpleNamespace(noun_chunks=[tagged[1:3], tagged[3:]])

    def unparsed(documents):
        for _ in documents:
            raise ValueError("[E029] noun_chunks requires the dependency parse")
        yield

    def load(name, exclude):
        if name == "absent":
            raise OSError("[E050] Can't find model 'absent'")
        return SimpleNamespace(vocab=None, pipe=unparsed if name == "blank" else iter)

    tokens.Doc, module.load, module.tokens = phrases, load, tokens
    monkeypatch.setitem(sys.modules, "spacy", module)
    monkeypatch.setitem(sys.modules, "spacy.tokens", tokens)
    return module


def test_entities_are_the_nouns_within_noun_phrases(spacy):
    # "young", "White", "males"; none; "orange", "orange", "cloth": the first words are in no phrase
    assert noun_positions(SENTENCES, "any") == [{1, 2, 3}, set(), {1, 3, 4}]


def test_missing_spacy_or_model_is_said_in_a_sentence(spacy, monkeypatch):
    with pytest.raises(IkdError, match="spaCy has no model absent: python -m spacy download absent"):
        noun_positions(SENTENCES, "absent")
    with pytest.raises(IkdError, match="spaCy's model blank cannot find noun phrases: name one"):
        noun_positions(SENTENCES, "blank")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(IkdError, match=r'pip install "ikd-fairseq\[entities\]", or give --positions FILE'):
        noun_positions(SENTENCES, "any")
