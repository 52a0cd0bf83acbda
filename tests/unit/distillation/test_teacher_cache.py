"""A teacher cache gives back what was written, in any order, and refuses what is not its own."""

import json
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from ikd_fairseq.distillation.teacher_cache import TeacherCache, TeacherCacheWriter, teacher_files
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.checksums import sha256_of_file, sha256_of_words
from ikd_fairseq.io.manifests import text_fingerprint

LENGTHS = np.array([3, 0, 1, 4])
K = 2


def answers(sentence, vocabulary=100):
    random = np.random.default_rng(sentence)
    shape = (int(LENGTHS[sentence]), K)
    return random.integers(0, vocabulary, shape), (random.random(shape) / K).astype(np.float16)


def write(prefix, order=(3, 0, 2), vocabulary=100, teachers=(), text=None, commit=True):
    with TeacherCacheWriter(prefix, "own", LENGTHS, K, vocabulary) as writer:
        for sentence in order:
            writer.write(sentence, *answers(sentence, vocabulary))
        words = sha256_of_words(map(str, range(vocabulary)))
        made_of = {"teachers": teacher_files(teachers), "text": text or {}, "dictionary": words}
        return writer.commit(made_of) if commit else None


@pytest.fixture
def prefix(tmp_path):
    return str(tmp_path / "train")


@pytest.mark.parametrize("vocabulary, dtype", [(100, np.uint16), (65536, np.uint16), (65537, np.int32)])
def test_round_trip_in_any_order_of_sentences(prefix, vocabulary, dtype):
    cache = write(prefix, vocabulary=vocabulary)
    assert len(cache) == 4 and cache.top_k == K
    for sentence in range(4):
        ids, probs = cache[sentence]
        assert ids.dtype == dtype and probs.dtype == np.float16
        np.testing.assert_array_equal(ids, answers(sentence, vocabulary)[0])
        np.testing.assert_array_equal(probs, answers(sentence, vocabulary)[1])
    mass = sum(answers(sentence, vocabulary)[1].sum(dtype=float) for sentence in (0, 2, 3)) / 8
    assert cache.manifest["covered_mass"] == pytest.approx(mass)
    assert cache.manifest["sentences_left_out"] == 1 and cache.manifest["temperature"] == 1.0
    np.testing.assert_array_equal(np.load(prefix + ".teacher.own.offsets.npy"), [0, 3, 3, 4, 8])


def test_pickling_carries_no_answers(prefix):
    cache = write(prefix)
    cache[0]
    copy = pickle.loads(pickle.dumps(cache))
    assert copy._ids._array is None and copy._probs._array is None
    np.testing.assert_array_equal(copy[3][1], answers(3)[1])


def test_unfinished_cache_leaves_nothing(prefix, tmp_path):
    write(prefix, commit=False)
    with pytest.raises(RuntimeError):
        with TeacherCacheWriter(prefix, "own", LENGTHS, K, 100) as writer:
            writer.write(0, *answers(0))
            raise RuntimeError
    assert not os.listdir(tmp_path) and not TeacherCache.exists(prefix, "own")


def test_an_earlier_cache_stays_until_the_new_one_is_whole(prefix):
    write(prefix)
    write(prefix, order=(3,), commit=False)
    np.testing.assert_array_equal(TeacherCache.open(prefix, "own")[0][0], answers(0)[0])


@pytest.mark.parametrize("suffix", ["ids.npy", "probs.npy", "offsets.npy", "json"])
def test_an_incomplete_cache_is_refused_by_name(prefix, suffix):
    write(prefix)
    os.remove(f"{prefix}.teacher.own.{suffix}")
    assert TeacherCache.exists(prefix, "own")
    with pytest.raises(IkdError, match=f"lacks {prefix}.teacher.own.{suffix}: run ikd-cache-teacher"):
        TeacherCache.open(prefix, "own")


def test_damaged_files_are_refused(prefix):
    write(prefix)
    probs = np.load(f"{prefix}.teacher.own.probs.npy")
    np.save(f"{prefix}.teacher.own.probs.npy", probs[:-1])
    with pytest.raises(IkdError, match=r"probs\.npy holds float16 \(7, 2\)"):
        TeacherCache.open(prefix, "own")
    np.save(f"{prefix}.teacher.own.probs.npy", probs)
    np.save(f"{prefix}.teacher.own.offsets.npy", np.array([0, 1, 3, 4, 8]))
    with pytest.raises(IkdError, match=r"offsets\.npy does not have the SHA-256"):
        TeacherCache.open(prefix, "own")
    write(prefix)
    np.save(f"{prefix}.teacher.own.probs.npy", probs[::-1].copy())
    with pytest.raises(IkdError, match=r"probs\.npy does not have the SHA-256"):
        TeacherCache.open(prefix, "own")
    write(prefix)
    path = f"{prefix}.teacher.own.json"
    manifest = json.load(open(path))
    del manifest["covered_mass"]
    json.dump(manifest, open(path, "w"))
    with pytest.raises(IkdError, match="no valid entry 'covered_mass'"):
        TeacherCache.open(prefix, "own")


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("ids", lambda ids: ids + 100, "ids.npy holds words that the dictionary lacks"),
        (
            "probs",
            lambda probs: probs * np.float16(np.nan),
            "probs.npy holds values that are no probabilities",
        ),
        ("probs", lambda probs: -probs, "probs.npy holds values that are no probabilities"),
        ("probs", lambda probs: probs + 1, "probs.npy holds values that are no probabilities"),
        ("offsets", lambda offsets: offsets + 1, "offsets.npy does not part the answers into sentences"),
        ("offsets", lambda offsets: offsets[[0, 3, 2, 1, 4]], "offsets.npy does not part the answers"),
    ],
)
def test_a_cache_of_an_old_version_is_refused_for_what_it_holds(prefix, name, change, message):
    write(prefix)
    array = np.load(path := f"{prefix}.teacher.own.{name}.npy")
    np.save(path, change(array).astype(array.dtype))
    manifest = json.load(open(f"{prefix}.teacher.own.json"))
    manifest = {key: value for key, value in manifest.items() if not key.endswith(("_sha256", "_blocks"))}
    manifest["offsets_sha256"] = sha256_of_file(f"{prefix}.teacher.own.offsets.npy")
    json.dump(manifest, open(f"{prefix}.teacher.own.json", "w"))
    with pytest.raises(IkdError, match=message):
        TeacherCache.open(prefix, "own")
    np.save(path, array)
    manifest["offsets_sha256"] = sha256_of_file(f"{prefix}.teacher.own.offsets.npy")
    json.dump(manifest, open(f"{prefix}.teacher.own.json", "w"))
    assert len(TeacherCache.open(prefix, "own")) == len(LENGTHS)


def test_answers_that_are_not_finite_are_not_written(prefix, tmp_path):
    ids, probs = answers(0)
    probs[1, 1] = np.nan
    with pytest.raises(IkdError, match="answer to sentence 0 is not finite"):
        with TeacherCacheWriter(prefix, "own", LENGTHS, K, 100) as writer:
            writer.write(0, ids, probs)
    assert not os.listdir(tmp_path)


def test_full_disk_is_refused_before_the_teachers_run(prefix, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(IkdError, match="not enough disk space: .*teacher.own"):
        write(prefix)


def test_other_text_words_or_teachers_are_refused(prefix, tmp_path, write_text_split):
    data = str(tmp_path)
    write_text_split(data, "train", 4)
    for name in ("a.pt", "b.pt", "c.pt"):
        (tmp_path / name).write_text(name)
    a, b, c = (str(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt"))
    cache = write(prefix, teachers=[a, b], text=text_fingerprint(data, "train"))
    cache.check_text(data, "train")
    words = [str(number) for number in range(100)]
    cache.check_words(words)
    cache.check_teachers([b, a])
    with pytest.raises(IkdError, match="dictionary of 100 words, and this one has 99"):
        cache.check_words(words[1:])
    with pytest.raises(IkdError, match="made with another target dictionary: run ikd-cache-teacher"):
        cache.check_words([*words[1:], words[0]])
    for others in ([a], [a, c], [a, a]):
        with pytest.raises(IkdError, match="made from other teachers than --teacher-path"):
            cache.check_teachers(others)
    write_text_split(data, "train", 4, length=5)
    with pytest.raises(IkdError, match=r"train\.teacher\.own\.json was made for another preparation"):
        cache.check_text(data, "train")
