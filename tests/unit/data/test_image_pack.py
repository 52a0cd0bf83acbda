"""An image pack gives back what was written, refuses every kind of damage, and survives being killed."""

import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
from collections import namedtuple

import numpy as np
import pytest

from ikd_fairseq.data import image_pack
from ikd_fairseq.data.image_pack import ImagePack, ImagePackWriter, sources_digest
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint

SIZE = 4
INDEX = np.array([1, -1, 0, 1, 2], dtype=np.int32)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def write_pack(prefix, text=None, images=IMAGES, index=INDEX, digest="d"):
    with ImagePackWriter(str(prefix), SIZE, index, len(images), digest) as writer:
        for row in reversed(range(len(images))):
            if not writer.done[row]:
                writer.write(row, images[row])
        return writer.commit({"text": text or {}})


@pytest.fixture
def prefix(tmp_path):
    write_pack(tmp_path / "train")
    return str(tmp_path / "train")


def test_round_trip(prefix):
    pack = ImagePack.open(prefix)
    assert (len(pack), pack.coverage, pack.image_size) == (5, 4, SIZE)
    for sentence, row in enumerate(INDEX):
        if row < 0:
            assert pack[sentence] is None
        else:
            np.testing.assert_array_equal(pack[sentence], IMAGES[row])
    pack.verify()


def test_the_files_are_plain_npy_as_documented(prefix):
    np.testing.assert_array_equal(np.load(prefix + ".images.npy"), IMAGES)
    index = np.load(prefix + ".images.index.npy")
    assert index.dtype == np.int32
    np.testing.assert_array_equal(index, INDEX)


def test_no_other_file_is_left(prefix):
    assert sorted(os.listdir(os.path.dirname(prefix))) == [
        "train.images.index.npy",
        "train.images.json",
        "train.images.npy",
    ]


def test_an_entry_cannot_be_changed_and_the_pack_with_it(prefix):
    pack = ImagePack.open(prefix)
    with pytest.raises(ValueError, match="read-only"):
        pack.images[1] = 0
    pack[0][:] = 0  # a copy
    np.testing.assert_array_equal(pack[0], IMAGES[1])


def test_pickling_carries_no_image(tmp_path):
    many = np.zeros((300, SIZE, SIZE, 3), dtype=np.uint8)
    pack = write_pack(tmp_path / "train", images=many)
    assert pack[0] is not None  # the array is mapped
    content = pickle.dumps(pack)
    assert len(content) < 3000
    np.testing.assert_array_equal(pickle.loads(content)[4], many[2])


def test_opening_does_not_map_the_images(prefix):
    (images,) = ImagePack.open(prefix).arrays
    assert images._array is None


@pytest.mark.parametrize("suffix", [".images.npy", ".images.index.npy", ".images.json"])
def test_an_incomplete_pack_exists_and_is_refused_by_name(prefix, suffix):
    os.remove(prefix + suffix)
    assert ImagePack.exists(prefix)
    with pytest.raises(IkdError, match=f"lacks {prefix}{suffix}.*ikd-pack-images"):
        ImagePack.open(prefix)


def test_no_file_is_no_pack_and_other_splits_do_not_count(prefix):
    assert not ImagePack.exists(prefix + "1")
    assert not ImagePack.exists(prefix[:-1])


def edit_manifest(prefix, **entries):
    path = prefix + ".images.json"
    with open(path) as stream:
        manifest = json.load(stream)
    with open(path, "w") as stream:
        json.dump({**manifest, **entries}, stream)


@pytest.mark.parametrize(
    "entries, named",
    [
        ({"format": 2}, "format 1"),
        ({"image_size": "224"}, "'image_size'"),
        ({"image_size": 8}, r"\.images\.npy holds"),
        ({"images": 4}, r"\.images\.npy holds"),
        ({"images": 2}, "rows outside of the 2"),
        ({"sentences": 6}, r"index\.npy holds"),
        ({"index_sha256": "0" * 64}, r"index\.npy does not have the SHA-256"),
        ({"text": None}, "'text'"),
    ],
)
def test_a_manifest_that_disagrees_is_refused(prefix, entries, named):
    edit_manifest(prefix, **entries)
    with pytest.raises(IkdError, match=named):
        ImagePack.open(prefix)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_a_manifest_that_is_none_is_refused(prefix, content):
    with open(prefix + ".images.json", "w") as stream:
        stream.write(content)
    with pytest.raises(IkdError, match=r"train\.images\.json"):
        ImagePack.open(prefix)


def test_a_pack_in_which_no_sentence_has_an_image_is_refused(tmp_path):
    with pytest.raises(IkdError, match=r"train\.images\.index\.npy gives no sentence an image"):
        write_pack(tmp_path / "train", index=np.full(5, -1, dtype=np.int32))


def cut_last_byte(path):
    os.truncate(path, os.path.getsize(path) - 1)


def add_a_byte(path):
    with open(path, "ab") as stream:
        stream.write(b"x")


def empty(path):
    os.truncate(path, 0)


def other_type(path):
    np.save(path, np.load(path).astype(np.int64))


def pickled_objects(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [cut_last_byte, add_a_byte, empty, other_type, pickled_objects])
@pytest.mark.parametrize("suffix", [".images.npy", ".images.index.npy"])
def test_a_damaged_array_is_refused_by_name(prefix, suffix, damage):
    damage(prefix + suffix)
    with pytest.raises(IkdError, match=f"train{suffix}"):
        ImagePack.open(prefix)


def flip_last_byte(path):
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))


def test_a_flipped_bit_in_the_images_is_found(prefix):
    pack = ImagePack.open(prefix)
    flip_last_byte(prefix + ".images.npy")
    for look in (pack.verify, lambda: ImagePack.open(prefix)):
        with pytest.raises(IkdError, match=r"train\.images\.npy does not have the SHA-256"):
            look()


def test_verify_tells_how_far_it_is(prefix):
    pack = ImagePack.open(prefix)
    told = []
    pack.verify(told.append)
    assert sum(told) == pack.nbytes


# ---- text


def test_the_fingerprint_of_the_text_has_sentences_and_sha256_of_every_index(tmp_path, write_text_split):
    write_text_split(tmp_path, "train", 5)
    write_text_split(tmp_path, "train1", 7)
    names = ["train.en-de.de.idx", "train.en-de.en.idx"]
    assert text_fingerprint(str(tmp_path), "train") == {
        name: {"sentences": 5, "sha256": hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}
        for name in names
    }


def test_a_pack_is_refused_beside_another_preparation_of_the_text(tmp_path, write_text_split):
    data = str(tmp_path)
    write_text_split(data, "train", 5)
    pack = write_pack(tmp_path / "train", text_fingerprint(data, "train"))
    pack.check_text(data, "train")

    write_text_split(data, "train", 5, length=4)
    with pytest.raises(
        IkdError, match=r"train\.images\.json was made for another .*train\.en-de\.de\.idx.*again"
    ):
        pack.check_text(data, "train")

    pack.record_text(text_fingerprint(data, "train"))
    reopened = ImagePack.open(pack.prefix)
    reopened.check_text(data, "train")
    reopened.verify()


def test_a_language_pair_added_later_is_refused_until_it_is_recorded(tmp_path, write_text_split):
    data = str(tmp_path)
    write_text_split(data, "train", 5)
    pack = write_pack(tmp_path / "train", text_fingerprint(data, "train"))
    write_text_split(data, "train", 5, pair="en-fr")
    with pytest.raises(IkdError, match=r"train\.en-fr\.en\.idx"):
        pack.check_text(data, "train")


# ---- writing


def killed_while_writing(prefix, rows, digest="d"):
    """A process that writes *rows* and is then killed."""

    def run():
        ImagePackWriter.ROWS_BETWEEN_FLUSHES = 1
        with ImagePackWriter(prefix, SIZE, INDEX, len(IMAGES), digest) as writer:
            for row in rows:
                writer.write(row, IMAGES[row])
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def rows_kept(prefix, digest="d"):
    with ImagePackWriter(prefix, SIZE, INDEX, len(IMAGES), digest) as writer:
        return writer.done.tolist()


def test_a_killed_run_leaves_no_pack_and_the_next_goes_on(tmp_path):
    prefix = str(tmp_path / "train")
    killed_while_writing(prefix, [2, 0])
    assert not ImagePack.exists(prefix)
    assert rows_kept(prefix) == [True, False, True]
    pack = write_pack(prefix)  # writes row 1 only
    pack.verify()
    np.testing.assert_array_equal(pack.images, IMAGES)


def test_rows_of_other_sources_are_not_kept(tmp_path):
    prefix = str(tmp_path / "train")
    killed_while_writing(prefix, [2, 0], digest="other")
    assert rows_kept(prefix) == [False] * 3


@pytest.mark.parametrize("name", ["images.npy", "images.done", "images.json"])
def test_rows_are_not_kept_when_a_partial_file_is_damaged(tmp_path, name):
    prefix = str(tmp_path / "train")
    killed_while_writing(prefix, [2, 0])
    cut_last_byte(f"{prefix}.{name}.partial")
    assert rows_kept(prefix) == [False] * 3


def test_a_row_counts_as_done_only_after_a_flush(tmp_path):
    prefix = str(tmp_path / "train")
    with ImagePackWriter(prefix, SIZE, INDEX, 3, "d") as writer:
        writer.write(0, IMAGES[0])
        assert not writer.done.any()
        writer.flush()
        assert writer.done.tolist() == [True, False, False]


def test_an_exception_keeps_the_rows_before_it(tmp_path):
    prefix = str(tmp_path / "train")
    with pytest.raises(KeyboardInterrupt):
        with ImagePackWriter(prefix, SIZE, INDEX, 3, "d") as writer:
            writer.write(1, IMAGES[1])
            raise KeyboardInterrupt
    assert rows_kept(prefix) == [False, True, False]


@pytest.mark.parametrize("step", range(1, 5))
def test_killed_while_renaming_a_new_pack_never_mixes_with_the_old_one(tmp_path, monkeypatch, step):
    prefix = str(tmp_path / "train")
    write_pack(prefix)
    replace, calls = os.replace, []

    def replace_until_killed(source, target):
        calls.append(target)
        if len(calls) == step:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(image_pack.os, "replace", replace_until_killed)
    with pytest.raises(KeyboardInterrupt):
        write_pack(prefix, images=255 - IMAGES, digest="new")
    monkeypatch.undo()
    assert len(calls) == step
    # In step 1, not all of the new one was on disk. After it, the reader ends what was begun.
    np.testing.assert_array_equal(ImagePack.open(prefix).images, IMAGES if step == 1 else 255 - IMAGES)
    pack = write_pack(prefix, images=255 - IMAGES, digest="new")
    pack.verify()
    np.testing.assert_array_equal(pack.images, 255 - IMAGES)


def test_the_old_pack_stays_whole_until_the_new_one_is_written(prefix):
    with ImagePackWriter(prefix, SIZE, INDEX, 3, "new") as writer:
        writer.write(0, 255 - IMAGES[0])
        writer.flush()
        ImagePack.open(prefix).verify()


def test_two_writers_of_one_pack_are_refused(tmp_path):
    prefix = str(tmp_path / "train")

    def refused():
        with pytest.raises(IkdError, match=r"train\.images\.json is being written by process \d+"):
            with ImagePackWriter(prefix, SIZE, INDEX, 3, "e"):
                pass

    with ImagePackWriter(prefix, SIZE, INDEX, 3, "d") as first:
        first.write(0, IMAGES[0])
        second = multiprocessing.get_context("fork").Process(target=refused)
        second.start()
        second.join()
        assert second.exitcode == 0
    assert rows_kept(prefix) == [True, False, False]


def test_a_disk_too_small_is_refused_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 900, 100))
    with pytest.raises(IkdError, match=r"train\.images\.npy needs 272 bytes and 100 are free"):
        write_pack(tmp_path / "train")


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_disk_that_fills_up_is_one_sentence(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_pack.os, call, full, raising=False)
    with pytest.raises(IkdError, match=r"the disk is full: .*train\.images\.npy needs 272 bytes"):
        write_pack(tmp_path / "train")
    assert not ImagePack.exists(str(tmp_path / "train"))


def test_a_file_system_that_cannot_reserve_space_is_written_all_the_same(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(image_pack.os, "posix_fallocate", unsupported, raising=False)
    np.testing.assert_array_equal(write_pack(tmp_path / "train").images, IMAGES)


def test_the_digest_follows_everything_a_pack_is_made_from():
    sources = [("a.jpg", 100, 5), ("b.jpg", 200, 6)]
    index = np.array([0, 1, -1], dtype=np.int32)
    base = sources_digest(8, index, sources)
    assert base == sources_digest(8, index.copy(), list(sources))
    others = [
        sources_digest(9, index, sources),
        sources_digest(8, np.array([0, 1, 1], dtype=np.int32), sources),
        sources_digest(8, index, [("a.jpg", 101, 5), sources[1]]),
        sources_digest(8, index, [("a.jpg", 100, 6), sources[1]]),
        sources_digest(8, index, [("c.jpg", 100, 5), sources[1]]),
        sources_digest(8, index, sources[:1]),
    ]
    assert len({base, *others}) == 7
