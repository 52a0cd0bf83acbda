"""Teacher caches: what a frozen teacher answers at every target position, computed once and kept on disk.

A cache of one split is four files, ``DATA/SPLIT`` plus, with k words kept at each of the target's tokens (the
end of sentence among them):

- ``.teacher.NAME.ids.npy``: uint16 (int32 for more than 65,536 words), ``tokens x k``, most likely first;
- ``.teacher.NAME.probs.npy``: float16, ``tokens x k``, their probabilities as the teacher gave them;
- ``.teacher.NAME.offsets.npy``: int64, ``sentences + 1``: sentence i has the tokens
  ``offsets[i]:offsets[i + 1]``, none if it was too long for the teacher;
- ``.teacher.NAME.json``: the manifest: sizes, teacher files with SHA-256, fingerprint of the text, and the
  share of the probability that the k words cover on average.

:class:`TeacherCacheWriter` writes under ``.partial`` names and the manifest last, so that a run killed at any
moment leaves nothing that loads.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import (
    TEACHER_IDS_SUFFIX,
    TEACHER_MANIFEST_SUFFIX,
    TEACHER_OFFSETS_SUFFIX,
    TEACHER_PROBS_SUFFIX,
)
from ..data.packs import Pack
from ..errors import check
from ..io.arrays import ArrayWriter, MappedArray, open_array
from ..io.checksums import checksum_of_file, sha256_of_file, sha256_of_words
from ..io.locks import claimed
from ..io.manifests import commit, finish_commit

_PROBS_TYPE = np.float16
_MOST_PROBABILITY = 1.01  # of all words of a position together, rounded to float16


def teacher_files(paths: Sequence[str]) -> list[dict[str, str]]:
    """What a manifest records of the checkpoints *paths*: file name and SHA-256 of each."""
    return [{"file": path, "sha256": sha256_of_file(path)} for path in paths]


def _ids_type(vocabulary: int) -> np.dtype:
    return np.dtype(np.uint16 if vocabulary <= 1 << 16 else np.int32)


class TeacherCache(Pack):
    """The teacher's answers on one split, by sentence, mapped when first used.

    Attributes:
        offsets: int64, N sentences + 1.
    """

    offsets: np.ndarray
    _ids: MappedArray
    _probs: MappedArray

    incomplete = "the teacher cache {name} of {prefix} lacks"
    remedy = text_remedy = "run ikd-cache-teacher again"
    suffixes = (TEACHER_IDS_SUFFIX, TEACHER_PROBS_SUFFIX, TEACHER_OFFSETS_SUFFIX, TEACHER_MANIFEST_SUFFIX)
    keys = {
        **dict.fromkeys(("sentences", "tokens", "top_k", "vocabulary"), int),
        "covered_mass": float,
        "teachers": list,
        "offsets_sha256": str,
        "text": dict,
    }

    @classmethod
    def open(cls, prefix: str, name: str) -> "TeacherCache":
        """Opens the cache *name* of ``DATA/SPLIT`` and checks that its files agree, and what they hold.

        Raises :class:`IkdError` if a file is missing, damaged, or does not fit the others.
        """
        cls.check_complete(prefix, name)
        cache = cls(prefix, name, cls.read_manifest(prefix, name))
        manifest, (ids_path, probs_path, offsets_path, _) = cache.manifest, cls.paths(prefix, name)
        recorded = all(isinstance(entry, dict) and "sha256" in entry for entry in manifest["teachers"])
        check(recorded, f"{cache.manifest_path} has no valid entry 'teachers': {cls.remedy}")
        shape, offsets = (manifest["tokens"], manifest["top_k"]), (manifest["sentences"] + 1,)
        arrays = (ids_path, shape, _ids_type(manifest["vocabulary"])), (probs_path, shape, _PROBS_TYPE)
        cache._ids, cache._probs = (
            MappedArray(*array, cls.remedy, manifest.get(f"{name}_sha256"), manifest.get(f"{name}_blocks"))
            for name, array in zip(("ids", "probs"), arrays)
        )
        sha256 = manifest["offsets_sha256"]
        cache.offsets = np.array(open_array(offsets_path, offsets, np.int64, cls.remedy, sha256))
        cache._check_values()
        return cache

    def _check_values(self) -> None:
        """Looks at all answers, or samples of many: caches of earlier versions have no checksums of them."""
        ids_path, probs_path, offsets_path, _ = self.paths(self.prefix, self.name)
        ends = self.offsets[0] == 0 and self.offsets[-1] == self.manifest["tokens"]
        ordered = ends and (np.diff(self.offsets) >= 0).all()
        check(ordered, f"{offsets_path} does not part the answers into sentences: {self.remedy}")
        for ids in self._ids.samples():
            known = not ids.size or (ids.min() >= 0 and ids.max() < self.manifest["vocabulary"])
            check(known, f"{ids_path} holds words that the dictionary lacks: {self.remedy}")
        for probs in self._probs.samples():
            total = probs.sum(axis=1, dtype=np.float32)
            likely = (probs >= 0).all() and (total <= _MOST_PROBABILITY).all()  # NaN fails both
            check(likely, f"{probs_path} holds values that are no probabilities: {self.remedy}")

    @property
    def top_k(self) -> int:
        """The number of words kept at a position."""
        return self.manifest["top_k"]

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.offsets) - 1

    def __getitem__(self, sentence: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a sentence's words (integers) and their probabilities (float16), each ``tokens x k``."""
        tokens = slice(self.offsets[sentence], self.offsets[sentence + 1])
        return np.array(self._ids.array[tokens]), np.array(self._probs.array[tokens])

    def check_words(self, words: Sequence[str]) -> None:
        """Refuses the cache for another target dictionary than that of *words*. Raises :class:`IkdError`.

        Caches of earlier versions only know how many there were.
        """
        cached = self.manifest["vocabulary"]
        other = f"{self.manifest_path} was made with a target dictionary of {cached} words"
        check(cached == len(words), f"{other}, and this one has {len(words)}: {self.remedy}")
        same = self.manifest.get("dictionary") in (None, sha256_of_words(words))
        check(same, f"{self.manifest_path} was made with another target dictionary: {self.remedy}")

    def check_teachers(self, paths: Sequence[str]) -> None:
        """Refuses the cache beside other teachers than the checkpoints *paths*. Raises :class:`IkdError`."""
        recorded = sorted(teacher["sha256"] for teacher in self.manifest["teachers"])
        same = recorded == sorted(map(sha256_of_file, paths))
        other = f"{self.manifest_path} was made from other teachers than --teacher-path {':'.join(paths)}"
        check(same, f"{other}: {self.remedy}, or drop one of --teacher-path and --teacher-cache")


class TeacherCacheWriter:
    """Writes a cache sentence by sentence, in any order, under ``.partial`` names until :meth:`commit`.

    Use as a context manager, which holds the cache's lock: without a commit, it leaves nothing behind.

    Args:
        name: see :func:`~ikd_fairseq.data.feature_pack.check_name`.
        lengths: int, N sentences: the target's tokens, 0 for a sentence that is left out.
        vocabulary: words of the target dictionary.
    """

    def __init__(self, prefix: str, name: str, lengths: np.ndarray, top_k: int, vocabulary: int):
        self.prefix, self.name = prefix, name
        self.top_k, self.vocabulary = top_k, vocabulary
        self.offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._written = np.asarray(lengths) == 0
        self._mass = 0.0
        shape = (int(self.offsets[-1]), top_k)
        *self._paths, self._manifest_path = TeacherCache.paths(prefix, name)
        ids_path, probs_path, offsets_path = self._paths
        self._ids = ArrayWriter(ids_path, shape, _ids_type(vocabulary))
        self._probs = ArrayWriter(probs_path, shape, _PROBS_TYPE)
        self._offsets = ArrayWriter(offsets_path, self.offsets.shape, np.int64)

    def __enter__(self) -> "TeacherCacheWriter":
        """Opens the files. Raises :class:`IkdError` if the disk is too full, or another process writes."""
        with contextlib.ExitStack() as files:
            files.enter_context(claimed(self._manifest_path))
            finish_commit(self._manifest_path, self._paths)
            for writer in (self._ids, self._probs, self._offsets):
                files.enter_context(writer)
            self._files = files.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._files.__exit__(*exception)

    def write(self, sentence: int, ids: np.ndarray, probs: np.ndarray) -> None:
        """Writes a sentence's answers: integers and floats, each ``tokens x k``, most likely first.

        Raises :class:`IkdError` for answers that are not finite: the teacher's weights are not.
        """
        begin, end = (int(offset) for offset in self.offsets[sentence : sentence + 2])
        assert ids.shape == probs.shape == (end - begin, self.top_k), (ids.shape, probs.shape)
        finite = np.isfinite(probs).all()
        check(finite, f"the teacher's answer to sentence {sentence} is not finite: take another checkpoint")
        self._ids.write(begin, ids)
        self._probs.write(begin, probs)
        self._written[sentence] = True
        self._mass += float(probs.sum(dtype=np.float64))

    def commit(self, manifest: dict[str, Any]) -> TeacherCache:
        """Gives the files their names, the manifest last, and returns the finished cache.

        Args:
            manifest: what only the caller knows: ``teachers`` (see :func:`teacher_files`), ``text`` (see
                :func:`~ikd_fairseq.io.manifests.text_fingerprint`) and ``dictionary``, the SHA-256 of the
                target's words.
        """
        assert self._written.all(), "commit() before every sentence was written"
        self._offsets.write(0, self.offsets)
        tokens = int(self.offsets[-1])
        written: dict[str, Any] = {
            "sentences": len(self.offsets) - 1,
            "sentences_left_out": int((np.diff(self.offsets) == 0).sum()),
            "tokens": tokens,
            "top_k": self.top_k,
            "vocabulary": self.vocabulary,
            "temperature": 1.0,
            "covered_mass": self._mass / max(tokens, 1),
        }
        writers = {"ids": self._ids, "probs": self._probs, "offsets": self._offsets}
        for name, writer in writers.items():
            checksum = checksum_of_file(writer.partial)
            written.update({f"{name}_sha256": checksum.sha256, f"{name}_blocks": checksum.blocks})
        commit(self._manifest_path, {**written, **manifest}, list(writers.values()))
        return TeacherCache.open(self.prefix, self.name)
