"""The distilled folder loads as fairseq's data: new targets, the same sources, splits, words and images."""

import os
import shutil

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import make_builder
from fairseq.tasks.translation import load_langpair_dataset

from ikd_fairseq.data.feature_pack import BY_IMAGE, BY_SENTENCE, FeaturePack, write_features
from ikd_fairseq.data.image_pack import ImagePack, ImagePackWriter
from ikd_fairseq.distillation import distilled_folder
from ikd_fairseq.distillation.distilled_folder import (
    feature_names,
    link_packs,
    open_packs,
    write_distilled_folder,
)
from ikd_fairseq.distillation.text_split import Split
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint
from tests import toy

SENTENCES = 5
INDEX = np.array([1, -1, 0, 1, 2], dtype=np.int32)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
FEATURES = np.random.default_rng(2).normal(size=(SENTENCES, 2, 3)).astype(np.float16)
TARGETS = [[5 + number, 6, 2] if number % 2 else [9, 2] for number in range(SENTENCES)]


def write_text(prefix, sentences, impl="mmap"):
    builder = make_builder(f"{prefix}.bin", impl, vocab_size=30)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence, dtype=torch.int32))
    builder.finalize(f"{prefix}.idx")


def open_split(folder: str) -> Split:
    """The split, whose packs fit it."""
    split = Split.open(folder, "train")
    open_packs(folder, "train")
    return split


@pytest.fixture
def data(tmp_path):
    """train (with images and both kinds of features), valid, and files that belong to the old targets."""
    folder = tmp_path / "data"
    (folder / "reference").mkdir(parents=True)
    (folder / "reference" / "test.de").write_text("referenz\n")
    (folder / "code").write_text("#version: 0.2\n")
    (folder / "train.teacher.big.ids.npy").write_bytes(b"answers to the old targets")
    (folder / "train.align.en-de.idx").write_bytes(b"alignment with the old targets")
    for language in ("en", "de", "fr"):
        toy.dictionary().save(str(folder / f"dict.{language}.txt"))
    for split in ("train", "valid"):
        for language in ("en", "de"):
            write_text(
                folder / f"{split}.en-de.{language}", [[4 + number, 5, 6, 2] for number in range(SENTENCES)]
            )
    prefix = str(folder / "train")
    text = text_fingerprint(str(folder), "train")
    with ImagePackWriter(prefix, 4, INDEX, len(IMAGES), "digest") as writer:
        for row, image in enumerate(IMAGES):
            writer.write(row, image)
        pack = writer.commit({"text": text})
    by_image = {key: pack.manifest[key] for key in ("images_sha256", "index_sha256")}
    write_features(prefix, "cnn", (3, 2, 3), [FEATURES[:3]], {"rows": BY_IMAGE, **by_image})
    write_features(prefix, "published", (SENTENCES, 2, 3), [FEATURES], {"rows": BY_SENTENCE, "text": text})
    return folder


@pytest.fixture
def split(data):
    return Split.open(str(data), "train")


def test_the_folder_loads_as_fairseq_data_with_exactly_the_new_tokens(data, split, tmp_path):
    out = str(tmp_path / "out")
    write_distilled_folder(split, out, TARGETS)
    words = Dictionary.load(f"{out}/dict.de.txt")
    pairs = load_langpair_dataset(
        out,
        "train",
        "en",
        words,
        "de",
        words,
        combine=True,
        dataset_impl=None,
        upsample_primary=1,
        left_pad_source=True,
        left_pad_target=False,
        max_source_positions=99,
        max_target_positions=99,
    )
    assert [pairs[number]["target"].tolist() for number in range(SENTENCES)] == TARGETS
    assert [pairs[number]["source"].tolist() for number in range(SENTENCES)] == [
        [4 + number, 5, 6, 2] for number in range(SENTENCES)
    ]
    for name in (
        "train.en-de.en.bin",
        "train.en-de.en.idx",
        "valid.en-de.de.bin",
        "valid.en-de.en.idx",
        "dict.en.txt",
        "dict.de.txt",
        "code",
        "reference/test.de",
    ):
        assert (tmp_path / "out" / name).read_bytes() == (data / name).read_bytes(), name


def test_packs_of_every_kind_belong_to_the_new_text_by_their_own_check(data, split, tmp_path):
    out = str(tmp_path / "out")
    write_distilled_folder(split, out, TARGETS)
    pack = ImagePack.open(f"{out}/train")
    pack.check_text(out, "train")
    pack.verify()
    for sentence, row in enumerate(INDEX):
        assert (pack[sentence] is None) if row < 0 else np.array_equal(pack[sentence], IMAGES[row])
    for name in ("cnn", "published"):
        features = FeaturePack.open(f"{out}/train", name)
        features.check_text(out, "train")
        assert np.array_equal(features[4], FEATURES[2 if name == "cnn" else 4])
    # The old manifests would be refused beside the new text, and those of the data folder are as they were.
    with pytest.raises(IkdError, match="another preparation"):
        ImagePack.open(split.prefix).check_text(out, "train")
    open_split(str(data))


def test_what_belongs_to_the_old_targets_stays_behind(split, tmp_path):
    write_distilled_folder(split, str(tmp_path / "out"), TARGETS)
    text = [
        f"{name}.en-de.{side}.{kind}"
        for name in ("train", "valid")
        for side in ("de", "en")
        for kind in ("bin", "idx")
    ]
    features = [f"train.features.{name}.{kind}" for name in ("cnn", "published") for kind in ("npy", "json")]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(
        ["code", "reference", "dict.de.txt", "dict.en.txt", *text, *features]
        + ["train.images.npy", "train.images.index.npy", "train.images.json"]
    )


def test_arrays_are_linked_and_text_is_copied_because_preprocess_writes_in_place(data, split, tmp_path):
    out = tmp_path / "out"
    write_distilled_folder(split, str(out), TARGETS)
    assert os.path.samefile(out / "train.images.npy", data / "train.images.npy")
    assert os.path.samefile(out / "train.features.cnn.npy", data / "train.features.cnn.npy")
    for name in ("train.en-de.en.bin", "dict.de.txt", "train.images.json"):
        assert not os.path.samefile(out / name, data / name)


def test_where_there_are_no_hard_links_arrays_are_copied(data, split, tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(distilled_folder.os, "link", no_links)
    write_distilled_folder(split, str(tmp_path / "out"), TARGETS)
    assert (tmp_path / "out" / "train.images.npy").read_bytes() == (data / "train.images.npy").read_bytes()
    ImagePack.open(str(tmp_path / "out" / "train")).verify()


@pytest.mark.parametrize("step", ["copy_file", "link_file", "_write_text", "_record_text"])
def test_an_interrupted_call_leaves_nothing_that_loads_and_is_repeated(split, tmp_path, monkeypatch, step):
    out = str(tmp_path / "out")
    write_distilled_folder(split, out, [[7, 7, 7, 7, 2]] * SENTENCES)  # an earlier call's, with other targets

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distilled_folder, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_distilled_folder(split, out, TARGETS)
    with pytest.raises(IkdError):  # no target, or images that were packed for another one
        open_split(out)
    write_distilled_folder(split, out, TARGETS)
    again = open_split(out)
    assert [ids.tolist() for ids in (again.token_ids("de")[number] for number in range(SENTENCES))] == TARGETS
    assert not [name for name in os.listdir(out) if name.endswith(".partial")]


def test_a_pack_made_for_other_text_is_refused_before_anything_is_written(data, split, tmp_path):
    write_text(data / "train.en-de.de", [[7, 2]] * SENTENCES)
    with pytest.raises(IkdError, match="made for another preparation"):
        write_distilled_folder(split, str(tmp_path / "out"), TARGETS)
    assert not (tmp_path / "out").exists()


def test_text_in_fairseqs_older_format_is_taken_over_too(data, tmp_path):
    for language in ("en", "de"):
        write_text(data / f"train.en-de.{language}", [[4, 5, 2]] * SENTENCES, impl="cached")
    for name in os.listdir(data):
        if ".images." in name or ".features." in name:
            os.remove(data / name)
    write_distilled_folder(Split.open(str(data), "train"), str(tmp_path / "out"), TARGETS)
    out = Split.open(str(tmp_path / "out"), "train")
    assert out.token_ids("en")[0].tolist() == [4, 5, 2]
    assert out.token_ids("de")[1].tolist() == TARGETS[1]


def test_feature_packs_are_found_by_the_splits_exact_name(data, split):
    shutil.copy(data / "train.features.cnn.npy", data / "train1.features.other.npy")
    assert feature_names(split.prefix) == ["cnn", "published"]


@pytest.fixture
def prepared_anew(data, tmp_path):
    """The text of ``data`` with another source side, as fairseq-preprocess leaves it: without packs."""
    out = tmp_path / "anew"
    out.mkdir()
    for name in ("train.en-de.de.bin", "train.en-de.de.idx", "valid.en-de.de.bin", "valid.en-de.de.idx"):
        shutil.copy(data / name, out)
    for split in ("train", "valid"):
        write_text(out / f"{split}.en-de.en", [[5, 2]] * SENTENCES)
    return out


def test_text_whose_source_alone_differs_gets_the_packs(data, prepared_anew):
    link_packs(str(data), str(prepared_anew), ["train", "valid"])
    link_packs(str(data), str(prepared_anew), ["train", "valid"])  # repeated, it changes nothing
    pack = ImagePack.open(str(prepared_anew / "train"))
    pack.check_text(str(prepared_anew), "train")
    assert np.array_equal(pack.index, INDEX) and np.array_equal(pack.images, IMAGES)
    assert os.path.samefile(prepared_anew / "train.images.npy", data / "train.images.npy")
    for name in ("cnn", "published"):
        FeaturePack.open(str(prepared_anew / "train"), name).check_text(str(prepared_anew), "train")
    open_split(str(data))  # its own records are as they were
    assert not list(prepared_anew.glob("valid.images*"))


def test_other_sentences_get_no_packs(data, prepared_anew):
    write_text(prepared_anew / "train.en-de.de", [[5, 6, 2]] * SENTENCES)
    with pytest.raises(IkdError, match="train in .*anew does not hold the sentences of .*data"):
        link_packs(str(data), str(prepared_anew), ["train"])
    assert not list(prepared_anew.glob("train.images*"))
