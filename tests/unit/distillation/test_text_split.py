"""A split of text is found by languages, with its dictionaries; its fingerprint tells it from other text."""

import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from ikd_fairseq.distillation.text_split import Split
from ikd_fairseq.errors import IkdError
from tests import toy


@pytest.fixture
def data(tmp_path, write_text_split):
    for language in ("en", "de", "fr"):
        toy.dictionary().save(str(tmp_path / f"dict.{language}.txt"))
    write_text_split(tmp_path, "train", 5)
    return tmp_path


def test_the_other_direction_and_one_of_several_pairs(data, write_text_split):
    backwards = Split.open(str(data), "train", "de", "en")
    assert (backwards.pair, backwards.source, backwards.target) == ("en-de", "de", "en")
    assert Split.open(str(data), "train", "de") == Split.open(str(data), "train", None, "en") == backwards
    assert Split.open(str(data), "train", "en") == Split.open(str(data), "train", None, "de")
    with pytest.raises(IkdError, match="not in fr-de"):
        Split.open(str(data), "train", "fr")
    write_text_split(data, "train", 5, pair="en-fr")
    with pytest.raises(IkdError, match="several pairs"):
        Split.open(str(data), "train")
    assert Split.open(str(data), "train", "en", "fr").target == "fr"


def test_missing_split_language_or_dictionary_is_named(data):
    with pytest.raises(IkdError, match="holds no split test9"):
        Split.open(str(data), "test9")
    with pytest.raises(IkdError, match="not in en-fr"):
        Split.open(str(data), "train", "en", "fr")
    (data / "dict.de.txt").unlink()
    with pytest.raises(IkdError, match="dict.de.txt is missing"):
        Split.open(str(data), "train")


def test_tokens_come_from_the_dictionary_and_no_word_becomes_unknown(data):
    split, words = Split.open(str(data), "train"), toy.dictionary()
    assert split.target_ids("w3 <unk> w19", "here") == [words.index("w3"), 3, words.index("w19"), 2]
    for text in ("w3 w99", "w3  w4", "W3"):
        with pytest.raises(IkdError, match="hypothesis 1 of sentence 4: .* is not in dict.de.txt"):
            split.target_ids(text, "hypothesis 1 of sentence 4")


def test_fingerprint_changes_with_the_splits_own_text_alone(data, write_text_split):
    write_text_split(data, "valid", 5)
    split = Split.open(str(data), "train")
    before = split.fingerprint()
    (data / "valid.en-de.en.bin").write_bytes(b"")
    assert split.fingerprint() == before
    builder = MMapIndexedDatasetBuilder(str(data / "train.en-de.en.bin"))
    for number in range(split.sentences):
        builder.add_item(torch.tensor([5 + number, 5, 6]))  # the same lengths, so the same index
    builder.finalize(str(data / "train.en-de.en.idx"))
    after = split.fingerprint()
    assert {name for name in after if before[name] != after[name]} == {"train.en-de.en.bin"}
