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
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import (
    TEACHER_IDS_SUFFIX,
    TEACHER_MANIFEST_SUFFIX,
    TEACHER_OFFSETS_SUFFIX,
    TEACHER_PROBS_SUFFIX,
)
from ..errors import check
from ..io.arrays import ArrayWriter, MappedArray, npy_bytes, open_array
from ..io.atomic import check_disk_space, write_atomically
from ..io.manifests import (
    check_text_fingerprint,
    read_manifest,
    remove_manifest,
    sha256_of_file,
    write_manifest,
)

_REMEDY = "run ikd-cache-teacher again"
_MANIFEST_KEYS = {
    "sentences": int,
    "tokens": int,
    "top_k": int,
    "vocabulary": int,
    "covered_mass": float,
    "teachers": list,
    "offsets_sha256": str,
    "text": dict,
}
_PROBS_TYPE = np.float16


def teacher_files(paths: Sequence[str]) -> list[dict[str, str]]:
    """What a manifest records of the checkpoints *paths*: file name and SHA-256 of each."""
    return [{"file": path, "sha256": sha256_of_file(path)} for path in paths]


def _ids_type(vocabulary: int) -> np.dtype:
    return np.dtype(np.uint16 if vocabulary <= 1 << 16 else np.int32)


class TeacherCache:
    """The teacher's answers on one split, by sentence. Cheap to open and to pickle, as an image pack is.

    Attributes:
        prefix: ``DATA/SPLIT``.
        name: the cache's name in its files' names.
        offsets: int64, N sentences + 1.
        manifest: what ``SPLIT.teacher.NAME.json`` says.
    """

    def __init__(
        self,
        prefix: str,
        name: str,
        manifest: dict[str, Any],
        offsets: np.ndarray,
        ids: MappedArray,
        probs: MappedArray,
    ):
        self.prefix = prefix
        self.name = name
        self.manifest = manifest
        self.offsets = offsets
        self._ids, self._probs = ids, probs

    @staticmethod
    def paths(prefix: str, name: str) -> tuple[str, str, str, str]:
        """Returns the paths of ids, probabilities, offsets and manifest."""
        suffixes = (
            TEACHER_IDS_SUFFIX,
            TEACHER_PROBS_SUFFIX,
            TEACHER_OFFSETS_SUFFIX,
            TEACHER_MANIFEST_SUFFIX,
        )
        ids, probs, offsets, manifest = (prefix + suffix.format(name=name) for suffix in suffixes)
        return ids, probs, offsets, manifest

    @classmethod
    def exists(cls, prefix: str, name: str) -> bool:
        """Whether any file of the cache is there: it is for :meth:`open` to refuse an incomplete one."""
        return any(os.path.exists(path) for path in cls.paths(prefix, name))

    @classmethod
    def open(cls, prefix: str, name: str) -> "TeacherCache":
        """Opens the cache *name* of ``DATA/SPLIT`` and checks that its files agree, without reading answers.

        Raises :class:`IkdError` if a file is missing, damaged, or does not fit the others.
        """
        ids_path, probs_path, offsets_path, manifest_path = paths = cls.paths(prefix, name)
        missing = [path for path in paths if not os.path.exists(path)]
        check(not missing, f"the teacher cache {name} of {prefix} lacks {' and '.join(missing)}: {_REMEDY}")
        manifest = read_manifest(manifest_path, _MANIFEST_KEYS, _REMEDY)
        shape = (manifest["tokens"], manifest["top_k"])
        ids = MappedArray(ids_path, shape, _ids_type(manifest["vocabulary"]), _REMEDY)
        probs = MappedArray(probs_path, shape, _PROBS_TYPE, _REMEDY)
        offsets = open_array(offsets_path, (manifest["sentences"] + 1,), np.int64, _REMEDY)
        check(
            sha256_of_file(offsets_path) == manifest["offsets_sha256"],
            f"{offsets_path} does not have the SHA-256 of its manifest: {_REMEDY}",
        )
        return cls(prefix, name, manifest, np.array(offsets), ids, probs)

    @property
    def top_k(self) -> int:
        """k, the number of words kept at a position."""
        return self.manifest["top_k"]

    @property
    def nbytes(self) -> int:
        """Size of all files on disk, in bytes."""
        return sum(map(os.path.getsize, self.paths(self.prefix, self.name)))

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.offsets) - 1

    def __getitem__(self, sentence: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a sentence's words (integers) and their probabilities (float16), each ``tokens x k``."""
        tokens = slice(self.offsets[sentence], self.offsets[sentence + 1])
        return np.array(self._ids.array[tokens]), np.array(self._probs.array[tokens])

    def check_text(self, data_dir: str, split: str) -> None:
        """Refuses the cache beside text that it was not made for. Raises :class:`IkdError`."""
        manifest_path = self.paths(self.prefix, self.name)[-1]
        check_text_fingerprint(self.manifest["text"], manifest_path, data_dir, split, _REMEDY)

    def check_vocabulary(self, words: int) -> None:
        """Refuses the cache for a target dictionary without as many *words*. Raises :class:`IkdError`."""
        check(
            self.manifest["vocabulary"] == words,
            f"{self.paths(self.prefix, self.name)[-1]} was made with a target dictionary of "
            f"{self.manifest['vocabulary']} words, and this one has {words}: {_REMEDY}",
        )

    def check_teachers(self, paths: Sequence[str]) -> None:
        """Refuses the cache beside other teachers than the checkpoints *paths*. Raises :class:`IkdError`."""
        recorded = sorted(teacher["sha256"] for teacher in self.manifest["teachers"])
        check(
            recorded == sorted(teacher["sha256"] for teacher in teacher_files(paths)),
            f"{self.paths(self.prefix, self.name)[-1]} was made from other teachers than --teacher-path "
            f"{':'.join(paths)}: {_REMEDY}, or drop one of --teacher-path and --teacher-cache",
        )


class TeacherCacheWriter:
    """Writes a cache sentence by sentence, in any order, under ``.partial`` names until :meth:`commit`.

    Use as a context manager: without a commit, it leaves nothing behind.

    Args:
        prefix: ``DATA/SPLIT``.
        name: see :func:`~ikd_fairseq.data.feature_pack.check_name`.
        lengths: int, N sentences: the target's tokens, 0 for a sentence that is left out.
        top_k: k.
        vocabulary: words of the target dictionary.
    """

    def __init__(self, prefix: str, name: str, lengths: np.ndarray, top_k: int, vocabulary: int):
        self.prefix, self.name = prefix, name
        self.top_k, self.vocabulary = top_k, vocabulary
        self.offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._written = np.asarray(lengths) == 0
        self._mass = 0.0
        shape = (int(self.offsets[-1]), top_k)
        ids_path, probs_path, _, _ = TeacherCache.paths(prefix, name)
        self._ids = ArrayWriter(ids_path, shape, _ids_type(vocabulary))
        self._probs = ArrayWriter(probs_path, shape, _PROBS_TYPE)
        self._writers = contextlib.ExitStack()

    def __enter__(self) -> "TeacherCacheWriter":
        """Opens the files. Raises :class:`IkdError` if the disk is too full."""
        check_disk_space(self._ids.path, self._ids.bytes + self._probs.bytes)
        for writer in (self._ids, self._probs):
            self._writers.enter_context(writer)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writers.__exit__(*exception)

    def write(self, sentence: int, ids: np.ndarray, probs: np.ndarray) -> None:
        """Writes a sentence's answers: integers and floats, each ``tokens x k``, most likely first."""
        begin, end = (int(offset) for offset in self.offsets[sentence : sentence + 2])
        assert ids.shape == probs.shape == (end - begin, self.top_k), (ids.shape, probs.shape)
        self._ids.write(begin, ids)
        self._probs.write(begin, probs)
        self._written[sentence] = True
        self._mass += float(probs.sum(dtype=np.float64))

    def commit(self, manifest: dict[str, Any]) -> TeacherCache:
        """Gives the files their names, the manifest last, and returns the finished cache.

        Args:
            manifest: what only the caller knows: ``teachers`` (see :func:`teacher_files`) and ``text`` (see
                :func:`~ikd_fairseq.io.manifests.text_fingerprint`).
        """
        assert self._written.all(), "commit() before every sentence was written"
        for writer in (self._ids, self._probs):
            writer.sync()
        _, _, offsets_path, manifest_path = TeacherCache.paths(self.prefix, self.name)
        remove_manifest(manifest_path)
        for writer in (self._ids, self._probs):
            writer.commit()
        with write_atomically(offsets_path) as stream:
            stream.write(npy_bytes(self.offsets))
        tokens = int(self.offsets[-1])
        write_manifest(
            manifest_path,
            {
                "sentences": len(self.offsets) - 1,
                "sentences_left_out": int((np.diff(self.offsets) == 0).sum()),
                "tokens": tokens,
                "top_k": self.top_k,
                "vocabulary": self.vocabulary,
                "temperature": 1.0,
                "covered_mass": self._mass / max(tokens, 1),
                "offsets_sha256": sha256_of_file(offsets_path),
                **manifest,
            },
        )
        return TeacherCache.open(self.prefix, self.name)
