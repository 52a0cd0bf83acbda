"""Dictionaries and merges are held against checkpoints and text."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from tests import toy


@pytest.fixture
def data(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 6)
    for language in ("en", "de"):
        toy.dictionary().save(str(tmp_path / f"dict.{language}.txt"))
    (tmp_path / "code").write_text("#version: 0.2\na b\n")
    return tmp_path


def task_of(data, **options):
    cfg = MultimodalTranslationConfig(
        data=str(data), train_subset="train", dataset_impl="mmap", required_seq_len_multiple=1, **options
    )
    return MultimodalTranslationTask.setup_task(cfg)


def state_of(data) -> dict:
    """What a checkpoint of a training on *data* holds of the task, and where it is from."""
    return {**task_of(data).state_dict(), "checkpoint": "runs/a.pt"}


def swap(path, first, second):
    lines = path.read_text().splitlines()
    lines[first], lines[second] = lines[second], lines[first]
    path.write_text("\n".join(lines) + "\n")


def test_of_several_pairs_the_languages_given_settle_which(data):
    (data / "train.en-fr.en.idx").touch()
    (data / "test.en-None.en.idx").touch()  # of fairseq-preprocess --only-source
    toy.dictionary().save(str(data / "dict.fr.txt"))
    with pytest.raises(
        IkdError, match=r"several pairs \(en-de, en-fr\): give --source-lang and --target-lang"
    ):
        task_of(data, source_lang="en")
    with pytest.raises(IkdError, match="--target-lang es: .* holds en-de, en-fr"):
        task_of(data, target_lang="es")
    for options in ({"target_lang": "fr"}, {"source_lang": "fr"}):
        cfg = task_of(data, **options).cfg
        assert {cfg.source_lang, cfg.target_lang} == {"en", "fr"} and vars(cfg).items() >= options.items()


def test_the_same_words_and_merges_are_taken_whatever_their_counts(data):
    state = state_of(data)
    words = Dictionary.load(str(data / "dict.de.txt"))
    words.count = [count + 1 for count in words.count]
    words.save(str(data / "dict.de.txt"))
    task_of(data).load_state_dict(state)
    assert "checkpoint" not in task_of(data).state_dict()


def test_words_that_are_swapped_or_lacking_are_refused_with_checkpoint_and_file(data):
    state = state_of(data)
    swap(data / "dict.en.txt", 2, 5)
    with pytest.raises(IkdError, match=r"runs/a\.pt was trained with another .*dict\.en\.txt \(other words"):
        task_of(data).load_state_dict(state)
    swap(data / "dict.en.txt", 2, 5)
    (data / "dict.de.txt").write_text("".join(f"w{i} 1\n" for i in range(19)))
    with pytest.raises(IkdError, match=r"another .*dict\.de\.txt \(24 words, and this one has 23\)"):
        task_of(data).load_state_dict(state)


def test_the_other_direction_is_refused_though_its_words_are_the_same(data):
    state = state_of(data)
    task_of(data, source_lang="en", target_lang="de").load_state_dict(state)
    with pytest.raises(IkdError, match=r"runs/a\.pt translates en-de, not de-en: give it those languages"):
        task_of(data, source_lang="de", target_lang="en").load_state_dict(state)
    del state["dictionaries"]["languages"]  # as of before
    task_of(data, source_lang="de", target_lang="en").load_state_dict(state)


def test_other_merges_are_refused_in_the_folder_and_in_the_option(data, tmp_path_factory):
    state = state_of(data)
    other = tmp_path_factory.mktemp("other") / "code"
    other.write_text("#version: 0.2\nb a\n")
    task = task_of(data)
    task.load_state_dict(state)
    with pytest.raises(IkdError, match=rf"--bpe-codes {other}: the checkpoint was trained with other"):
        task.build_bpe(SimpleNamespace(bpe="subword_nmt", bpe_codes=str(other)))
    with pytest.raises(IkdError, match="--bpe-codes nowhere: there is no such file"):
        task.build_bpe(SimpleNamespace(bpe="subword_nmt", bpe_codes="nowhere"))
    assert task.build_bpe(SimpleNamespace(bpe=None)) is None
    (data / "code").write_text(other.read_text())
    with pytest.raises(IkdError, match=r"runs/a\.pt was trained with other BPE merges than .*code"):
        task_of(data).load_state_dict(state)
    (data / "code").unlink()  # not of prepare.sh, or moved away
    task_of(data).load_state_dict(state)


def test_a_checkpoint_without_fingerprints_is_taken(data):
    task = task_of(data)
    task.load_state_dict({"process": {}})
    task.load_state_dict({"dictionaries": None})
    (data / "code").write_text("#version: 0.2\nb a\n")
    task.build_bpe(SimpleNamespace(bpe=None, bpe_codes=str(data / "code")))


def test_text_with_words_beyond_a_dictionary_that_was_cut_off_is_refused_when_it_is_loaded(data):
    builder = MMapIndexedDatasetBuilder(str(data / "train.en-de.de.bin"))
    for _ in range(6):
        builder.add_item(torch.tensor([4, 23, 2]))
    builder.finalize(str(data / "train.en-de.de.idx"))
    task_of(data).load_dataset("train")
    (data / "dict.de.txt").write_text("".join(f"w{i} 1\n" for i in range(19)))
    cut = r"dict\.de\.txt has 23 words, and .*train\.en-de\.de\.bin one with the number 23: .* is cut off"
    with pytest.raises(IkdError, match=cut):
        task_of(data).load_dataset("train")
