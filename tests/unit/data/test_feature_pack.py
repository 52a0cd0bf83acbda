"""A feature pack gives back what was written, by image or sentence, and refuses what is not its own."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from ikd_fairseq.data.feature_pack import (
    BY_IMAGE,
    BY_SENTENCE,
    FeaturePack,
    check_name,
    to_half,
    write_features,
)
from ikd_fairseq.data.image_pack import ImagePackWriter
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.checksums import sha256_of_file
from ikd_fairseq.io.manifests import text_fingerprint

INDEX = np.array([1, -1, 0, 1], dtype=np.int32)
FEATURES = np.random.default_rng(1).standard_normal((2, 4, 3)).astype(np.float16)  # rows x P x C


def write_images(prefix, text=None, value=0, index=INDEX):
    with ImagePackWriter(prefix, 2, index, 2, f"{value}") as writer:
        for row in range(2):
            writer.write(row, np.full((2, 2, 3), value + row, dtype=np.uint8))
        return writer.commit({"text": text or {}})


def write_by_image(prefix, images, name="cnn", features=FEATURES):
    shas = {key: images.manifest[key] for key in ("images_sha256", "index_sha256")}
    blocks = (features[row : row + 1] for row in range(len(features)))
    return write_features(prefix, name, features.shape, blocks, {"rows": BY_IMAGE, **shas})


@pytest.fixture
def prefix(tmp_path):
    prefix = str(tmp_path / "train")
    write_by_image(prefix, write_images(prefix))
    return prefix


def test_round_trip_by_image(prefix):
    pack = FeaturePack.open(prefix, "cnn")
    assert (len(pack), pack.coverage, pack.regions, pack.channels) == (4, 3, 4, 3)
    assert pack[1] is None
    for sentence in (0, 2, 3):
        assert pack[sentence].dtype == np.float16
        np.testing.assert_array_equal(pack[sentence], FEATURES[INDEX[sentence]])
    np.testing.assert_array_equal(np.load(prefix + ".features.cnn.npy"), FEATURES)


def test_round_trip_by_sentence_needs_no_image_pack(tmp_path):
    prefix = str(tmp_path / "train")
    write_features(prefix, "own", FEATURES.shape, [FEATURES], {"rows": BY_SENTENCE, "text": {}})
    pack = FeaturePack.open(prefix, "own")
    assert len(pack) == pack.coverage == 2
    np.testing.assert_array_equal(pack[1], FEATURES[1])


def test_features_by_image_do_without_the_image_array(prefix):
    os.remove(prefix + ".images.npy")
    np.testing.assert_array_equal(FeaturePack.open(prefix, "cnn")[0], FEATURES[1])


def test_pickling_carries_no_features(tmp_path):
    prefix = str(tmp_path / "train")
    large = np.ones((2, 1, 5000), dtype=np.float16)
    pack = write_features(prefix, "own", large.shape, [large], {"rows": BY_SENTENCE, "text": {}})
    assert pack[0] is not None  # the array is mapped
    content = pickle.dumps(pack)
    assert len(content) < 2000
    np.testing.assert_array_equal(pickle.loads(content)[1], large[1])


def test_names_are_kept_apart(prefix):
    assert FeaturePack.exists(prefix, "cnn")
    assert not FeaturePack.exists(prefix, "cn")
    assert not FeaturePack.exists(prefix + "1", "cnn")


@pytest.mark.parametrize("suffix", [".features.cnn.npy", ".features.cnn.json"])
def test_an_incomplete_pack_is_refused_by_name(prefix, suffix):
    os.remove(prefix + suffix)
    assert FeaturePack.exists(prefix, "cnn")
    with pytest.raises(IkdError, match=f"lack {prefix}{suffix}"):
        FeaturePack.open(prefix, "cnn")


@pytest.mark.parametrize("change", [{"value": 7}, {"index": INDEX[::-1].copy()}])
def test_features_of_another_image_pack_are_refused(prefix, change):
    write_images(prefix, **change)
    with pytest.raises(IkdError, match=r"features\.cnn\.npy was made from another image pack"):
        FeaturePack.open(prefix, "cnn")


@pytest.mark.parametrize(
    "entries, named",
    [
        ({"regions": 5}, r"cnn\.npy holds"),
        ({"count": 3}, r"cnn\.npy holds"),
        ({"rows": "words"}, "'rows'"),
        ({"rows": "sentences"}, "'text'"),
        ({"channels": 3.0}, "'channels'"),
    ],
)
def test_a_manifest_that_disagrees_is_refused(prefix, entries, named):
    path = prefix + ".features.cnn.json"
    with open(path) as stream:
        manifest = json.load(stream)
    with open(path, "w") as stream:
        json.dump({**manifest, **entries}, stream)
    with pytest.raises(IkdError, match=named):
        FeaturePack.open(prefix, "cnn")


def test_features_of_which_no_sentence_has_any_are_refused(tmp_path, prefix):
    path = prefix + ".images.index.npy"
    none = np.full(4, -1, dtype=np.int32)
    np.save(path, none)
    with open(path, "rb") as stream:
        index_sha256 = hashlib.sha256(stream.read()).hexdigest()
    for manifest_path in (prefix + ".images.json", prefix + ".features.cnn.json"):
        with open(manifest_path) as stream:
            manifest = json.load(stream)
        with open(manifest_path, "w") as stream:
            json.dump({**manifest, "index_sha256": index_sha256}, stream)
    with pytest.raises(IkdError, match=r"train\.images\.index\.npy gives no sentence an image"):
        FeaturePack.open(prefix, "cnn")
    with pytest.raises(IkdError, match=r"train\.features\.own\.npy holds features of no sentence"):
        write_features(prefix, "own", (0, 4, 3), [], {"rows": BY_SENTENCE, "text": {}})


def test_a_truncated_array_is_refused(prefix):
    path = prefix + ".features.cnn.npy"
    os.truncate(path, os.path.getsize(path) - 1)
    with pytest.raises(IkdError, match=r"features\.cnn\.npy"):
        FeaturePack.open(prefix, "cnn")


def test_other_values_than_were_written_are_refused(prefix):
    path = prefix + ".features.cnn.npy"
    changed = np.load(path)
    changed[0, 0, 0] = np.nan
    np.save(path, changed)
    with pytest.raises(IkdError, match=r"features\.cnn\.npy does not have the SHA-256"):
        FeaturePack.open(prefix, "cnn")
    manifest = json.loads(Path(prefix + ".features.cnn.json").read_text())
    manifest["sha256"] = sha256_of_file(path)
    Path(prefix + ".features.cnn.json").write_text(json.dumps(manifest))
    with pytest.raises(IkdError, match=r"features\.cnn\.npy holds features that are not finite"):
        FeaturePack.open(prefix, "cnn")


def test_features_are_refused_beside_another_preparation_of_the_text(tmp_path, write_text_split):
    data, prefix = str(tmp_path), str(tmp_path / "train")
    write_text_split(data, "train", 4)
    text = text_fingerprint(data, "train")
    by_image = write_by_image(prefix, write_images(prefix, text))
    four = np.concatenate([FEATURES, FEATURES])
    by_sentence = write_features(prefix, "own", four.shape, [four], {"rows": BY_SENTENCE, "text": text})
    by_image.check_text(data, "train")
    by_sentence.check_text(data, "train")

    write_text_split(data, "train", 4, length=5)
    with pytest.raises(IkdError, match=r"train\.images\.json was made .*ikd-pack-images again"):
        by_image.check_text(data, "train")
    with pytest.raises(IkdError, match=r"features\.own\.json was made .*ikd-extract-features again"):
        by_sentence.check_text(data, "train")


def test_a_writer_that_fails_leaves_the_earlier_pack_and_nothing_else(prefix):
    before = sorted(os.listdir(os.path.dirname(prefix)))

    def broken():
        yield FEATURES[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(prefix, "cnn", FEATURES.shape, broken(), {"rows": BY_SENTENCE, "text": {}})
    assert sorted(os.listdir(os.path.dirname(prefix))) == before
    np.testing.assert_array_equal(FeaturePack.open(prefix, "cnn")[2], FEATURES[0])


def test_to_half_rounds_to_float16():
    exact = np.array([[[1.0, -65504.0, 0.1]]])
    half = to_half(exact, 0, "f")
    assert half.dtype == np.float16
    assert half.tolist() == [[[1.0, -65504.0, float(np.float16(0.1))]]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 65505.0, -1e6])
def test_what_float16_cannot_hold_is_refused_with_its_row(bad):
    block = np.zeros((3, 2, 2))
    block[2, 1, 0] = bad
    with pytest.raises(IkdError, match=f"row 12 of f.npy holds {bad}"):
        to_half(block, 10, "f.npy")


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a.b", "a b"])
def test_a_name_that_is_no_part_of_a_file_name_is_refused(name):
    with pytest.raises(IkdError, match="--name"):
        check_name(name)
