"""A sentence to subwords and back, and what says how."""

import re

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving.model_card import Card, card_text
from ikd_fairseq.serving.text import NONE, TextFacts, TextPipeline, read_merges

MERGES = "#version: 0.2\nd o\ndo g</w>\nd o\n&a p\n"


def facts(words=("a@@", "dog", "&quot;"), **changes):
    found = TextFacts.of_words(("en", "de"), (tuple(words), tuple(words)), MERGES)
    return TextFacts(**{**vars(found), **changes})


def test_a_sentence_is_lower_cased_normalised_tokenised_and_split():
    # curly quotation marks become straight ones, which Moses escapes, behind the comma as in English
    words = TextPipeline(facts()).subwords("  A “dog”,\ta Cat. ")
    assert words == "a &@@ q@@ u@@ o@@ t@@ ; dog , &@@ q@@ u@@ o@@ t@@ ; a c@@ a@@ t ."


def test_casing_and_escapes_are_those_of_the_dictionary():
    assert facts().lowercase and not facts(("Dog@@", "dog")).lowercase
    plain = TextFacts.of_words(("en", "de"), (("dog", "'s", "The"), ("hund",)), None)
    assert TextPipeline(plain).subwords("The dog's") == "The dog 's"
    card = Card("dogs", "text")
    assert "return_str=True, escape=False)" in card_text(card, plain, for_transformers=True)
    assert "return_str=True)" in card_text(card, facts(), for_transformers=True)
    escaped = TextFacts.of_words(("en", "de"), (("dog", "&apos;s"), ("hund",)), None)
    assert TextPipeline(escaped).subwords("The dog's") == "the dog &apos;s"


def test_a_translation_comes_back_without_subwords_and_escapes():
    pipeline = TextPipeline(facts())
    assert pipeline.sentence("d@@ o@@ g , &quot; dog &quot; .") == 'dog, "dog".'
    assert TextPipeline(facts(tokenizer=NONE)).sentence("d@@ o@@ g , x .") == "dog , x ."


def test_words_are_left_alone_without_a_tokenizer():
    assert TextPipeline(facts(tokenizer=NONE)).subwords("dog, x") == "d@@ o@@ g@@ , x".replace(
        "d@@ o@@", "do@@"
    )


def test_facts_survive_their_record_and_damaged_ones_are_refused():
    record = facts().record()
    assert TextFacts.of_record(record, "x.pt") == facts()
    assert record["source_words"] is record["target_words"]
    damaged = [None, {}, {**record, "format": 2}, {**record, "merges": 3}, {**record, "source_words": [1]}]
    for other in [*damaged, {**record, "tokenizer": "eval"}, {**record, "lowercase": "yes"}]:
        with pytest.raises(IkdError, match="^x.pt: what it says of its text is damaged"):
            TextFacts.of_record(other, "x.pt")


def test_merges_are_pairs_by_rank_once():
    assert read_merges(MERGES) == [("d", "o"), ("do", "g</w>"), ("&a", "p")]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target": "xx"}, "sacremoses does not know the language 'xx' (it knows"),
        ({"merges": None}, "its BPE merges are missing"),
        ({"merges": "d o\n"}, "do not begin with '#version: 0.2'"),
        ({"merges": "#version: 0.2\nd o\nab\n"}, "line 3: 'ab' is no pair"),
    ],
)
def test_what_cannot_be_prepared_is_refused(changes, message):
    with pytest.raises(IkdError, match=re.escape(message)):
        TextPipeline(facts(**changes)).subwords("a")


def test_an_unknown_language_does_where_text_comes_in_words():
    assert TextPipeline(
        facts(target="xx", tokenizer=NONE, merges=None, source_words=("a",), target_words=("b",))
    )
