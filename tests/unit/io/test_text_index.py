"""The text of a split is found by its exact name, and counted as fairseq counts it."""

import gc
import os
import sys

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.text_index import sentence_counts, text_indices


def test_a_split_has_its_own_files_not_those_of_one_that_begins_like_it(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 5)
    write_text_split(tmp_path, "train1", 7)
    (tmp_path / "train.images.index.npy").touch()
    (tmp_path / "train.more.en-de.de.idx").touch()
    assert text_indices(str(tmp_path), "train") == [
        ("train.en-de.de.idx", "train", "en-de", "de"),
        ("train.en-de.en.idx", "train", "en-de", "en"),
    ]
    assert [index.split for index in text_indices(str(tmp_path))] == [
        *("train", "train", "train.more", "train1", "train1")
    ]
    assert sentence_counts(str(tmp_path), "train") == {"train.en-de.de.idx": 5, "train.en-de.en.idx": 5}
    assert sentence_counts(str(tmp_path), "train1") == {"train1.en-de.de.idx": 7, "train1.en-de.en.idx": 7}


@pytest.mark.parametrize("split", ["te*", "te.t", "te?t", "[t]est"])
def test_a_split_is_a_name_not_a_pattern(tmp_path, write_text_split, split):
    write_text_split(tmp_path, "test", 5)
    assert text_indices(str(tmp_path), split) == []


def test_a_folder_without_the_split_is_refused(tmp_path, write_text_split):
    write_text_split(tmp_path, "train1", 5)
    with pytest.raises(IkdError, match=rf"no train\.\*\.idx in {tmp_path}: run fairseq-preprocess first"):
        sentence_counts(str(tmp_path), "train")
    with pytest.raises(IkdError, match="does not exist"):
        sentence_counts(str(tmp_path / "nowhere"), "train")


def test_pairs_of_different_length_are_refused_with_both_numbers(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 5)
    write_text_split(tmp_path, "train", 6, pair="en-fr")
    with pytest.raises(IkdError, match=r"train\.en-de\.de\.idx and train\.en-fr\.en\.idx .* 5 and 6"):
        sentence_counts(str(tmp_path), "train")


def test_a_split_of_no_sentence_is_told(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 0)
    with pytest.raises(IkdError, match=r"train\.en-de\.de\.idx holds no sentence: leave that split out"):
        sentence_counts(str(tmp_path), "train")


@pytest.mark.parametrize("content", [b"", b"MMIDIDX\x00\x00rest", b"nonsense"])
def test_an_unreadable_index_is_named(tmp_path, write_text_split, content):
    write_text_split(tmp_path, "train", 5)
    (tmp_path / "train.en-de.de.idx").write_bytes(content)
    with pytest.raises(IkdError, match=r"train\.en-de\.de\.idx .*: run fairseq-preprocess again"):
        sentence_counts(str(tmp_path), "train")


@pytest.mark.parametrize("suffix, left", [("idx", 60), ("bin", 0)])
def test_what_is_half_read_does_not_complain_when_it_goes(
    tmp_path, write_text_split, suffix, left, monkeypatch
):
    write_text_split(tmp_path, "train", 5)
    os.truncate(tmp_path / f"train.en-de.de.{suffix}", left)
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(IkdError, match=rf"train\.en-de\.de\.{suffix}"):
        sentence_counts(str(tmp_path), "train")
    gc.collect()
    assert not complaints


@pytest.mark.parametrize("suffix", ["idx", "bin"])
def test_a_pipe_is_not_waited_for(tmp_path, write_text_split, suffix):
    write_text_split(tmp_path, "train", 5)
    os.remove(tmp_path / f"train.en-de.en.{suffix}")
    os.mkfifo(tmp_path / f"train.en-de.en.{suffix}")
    with pytest.raises(IkdError, match=rf"train\.en-de\.en\.{suffix} is a pipe or a device"):
        sentence_counts(str(tmp_path), "train")


def test_a_text_that_is_cut_off_is_refused(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 5)
    path = tmp_path / "train.en-de.de.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IkdError, match=r"de\.bin does not hold all sentences of .*train\.en-de\.de\.idx"):
        sentence_counts(str(tmp_path), "train")


def test_an_index_without_its_text_is_refused(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 5)
    os.remove(tmp_path / "train.en-de.en.bin")
    with pytest.raises(IkdError, match=r"train\.en-de\.en\.idx has no readable .*train\.en-de\.en\.bin"):
        sentence_counts(str(tmp_path), "train")
