"""Image packs: the images of one split as a memory-mapped array beside the binarised text.

A pack is three files, ``DATA/SPLIT`` plus:

- ``.images.npy``: uint8, ``rows x H x W x 3`` (RGB), one row a distinct image;
- ``.images.index.npy``: int32, for every sentence its row in the array above, or ``NO_IMAGE``;
- ``.images.json``: the manifest: size, counts, sources, SHA-256 of both arrays, fingerprint of the text.

:class:`ImagePackWriter` writes under ``.partial`` names, remembers on disk which rows are done, and renames
the manifest last, so that a run killed at any moment leaves the pack that was there, and the next one goes on
from there.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import IMAGES_SUFFIX, INDEX_SUFFIX, MANIFEST_SUFFIX, NO_IMAGE
from ..errors import check
from ..io.arrays import ArrayWriter, MappedArray, open_array
from ..io.atomic import PARTIAL_SUFFIX, writing
from ..io.checksums import Progress, check_sha256, checksum_of_file, sha256_of_file
from ..io.locks import claimed
from ..io.manifests import FORMAT, TextFingerprint, commit, finish_commit, write_manifest
from .packs import IndexedPack

DONE_SUFFIX = ".images.done"  # only ever with PARTIAL_SUFFIX: one byte a row, 1 when that row is on disk


def read_index(prefix: str, manifest: dict[str, Any], rows: int, remedy: str) -> np.ndarray:
    """Reads ``SPLIT.images.index.npy``: int32, a row below *rows* a sentence, not all ``NO_IMAGE``.

    Raises :class:`IkdError`.
    """
    path = prefix + INDEX_SUFFIX
    shape = (manifest["sentences"],)
    index = np.array(open_array(path, shape, np.int32, remedy, manifest["index_sha256"]))
    there = (index == NO_IMAGE) | ((index >= 0) & (index < rows))
    check(there.all(), f"{path} names rows outside of the {rows} that there are: {remedy}")
    check((index != NO_IMAGE).any(), f"{path} gives no sentence an image: {remedy}, or remove the pack")
    return index


class ImagePack(IndexedPack):
    """The images of one split, by sentence: uint8 ``H x W x 3`` (RGB), mapped when first used.

    Attributes:
        image_size: height and width of every image, in pixels.
    """

    incomplete = "the image pack {prefix} lacks"
    remedy = "run ikd-pack-images again"
    text_remedy = f"{remedy} (it keeps the images)"
    suffixes = (IMAGES_SUFFIX, INDEX_SUFFIX, MANIFEST_SUFFIX)
    keys = {
        **dict.fromkeys(("image_size", "sentences", "images"), int),
        **dict.fromkeys(("images_sha256", "index_sha256", "sources_sha256"), str),
        "text": dict,
    }

    @classmethod
    def open(cls, prefix: str) -> "ImagePack":
        """Opens the pack ``DATA/SPLIT``: checks that its three files agree, and have their checksums.

        Raises :class:`IkdError` if a file is missing, damaged, or does not fit the others.
        """
        cls.check_complete(prefix)
        manifest = cls.read_manifest(prefix)
        size, rows = manifest["image_size"], manifest["images"]
        index = read_index(prefix, manifest, rows, cls.remedy)
        shape, remedy = (rows, size, size, 3), f"delete it and {cls.remedy}"
        checksums = manifest["images_sha256"], manifest.get("images_blocks")
        images = MappedArray(prefix + IMAGES_SUFFIX, shape, np.uint8, remedy, *checksums)
        return cls(prefix, "", manifest, index, images)

    @property
    def image_size(self) -> int:
        return self.manifest["image_size"]

    @property
    def images(self) -> np.ndarray:
        """All distinct images: uint8, rows x H x W x 3 (RGB), memory-mapped and read-only."""
        return self.rows

    def record_text(self, text: TextFingerprint) -> None:
        """Writes into the manifest which text the pack stands beside, see :func:`text_fingerprint`."""
        self.manifest = {**self.manifest, "text": text}
        write_manifest(self.manifest_path, self.manifest)

    @property
    def nbytes(self) -> int:
        """Size of both arrays on disk, in bytes."""
        return sum(map(os.path.getsize, self.paths(self.prefix)[:2]))

    def verify(self, progress: Progress | None = None) -> None:
        """Reads both arrays and compares their SHA-256 with the manifest. Raises :class:`IkdError`."""
        for path, key in zip(self.paths(self.prefix), ("images_sha256", "index_sha256")):
            check_sha256(path, self.manifest[key], f"delete it and {self.remedy}", progress)


def sources_digest(image_size: int, index: np.ndarray, sources: list[tuple[str, int, int]]) -> str:
    """Returns a digest of all that a pack is made from: a pack with the same one need not be made again.

    Args:
        image_size: in pixels.
        index: int32, N sentences.
        sources: name, size in bytes and modification time in ns of the image file of every row.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, image_size, len(sources)]).encode())
    digest.update(np.ascontiguousarray(index, dtype="<i4").tobytes())
    for source in sources:
        digest.update(json.dumps(source).encode())
    return digest.hexdigest()


def progress_paths(prefix: str) -> tuple[str, str]:
    """The files in which :class:`ImagePackWriter` remembers its sources, and which rows are done."""
    return prefix + MANIFEST_SUFFIX + PARTIAL_SUFFIX, prefix + DONE_SUFFIX + PARTIAL_SUFFIX


class ImagePackWriter:
    """Writes a pack row by row, in any order; what a killed writer had finished is kept for the next.

    Use as a context manager: it holds the pack's lock, and raises :class:`IkdError` if another run does or
    the disk is too full. Rows become "done" only after they were flushed to disk.

    Args:
        image_size: in pixels.
        index: int32, N sentences: row or ``NO_IMAGE``.
        rows: number of distinct images.
        digest: of :func:`sources_digest`; rows of an earlier run are kept only if it had the same.

    Attributes:
        done: bool, one entry a row: True where an earlier run has already written that row.
        bytes: size of the array of images.
    """

    ROWS_BETWEEN_FLUSHES = 256

    def __init__(self, prefix: str, image_size: int, index: np.ndarray, rows: int, digest: str):
        self.prefix, self.image_size = prefix, image_size
        self.index, self.rows, self.digest = index, rows, digest
        *self._paths, self._manifest_path = ImagePack.paths(prefix)
        images_path, index_path = self._paths
        self._array = ArrayWriter(images_path, (rows, image_size, image_size, 3), np.uint8, keep=True)
        self._index_array = ArrayWriter(index_path, self.index.shape, np.int32)
        self.bytes = self._array.bytes
        self._key_path, self._done_path = progress_paths(prefix)
        self._unflushed: list[int] = []

    def __enter__(self) -> "ImagePackWriter":
        with contextlib.ExitStack() as files:
            files.enter_context(claimed(self._manifest_path))
            finish_commit(self._manifest_path, self._paths)
            with writing(self._done_path, self.rows):
                descriptor = os.open(self._done_path, os.O_RDWR | os.O_CREAT, 0o666)
            self._done_file = files.enter_context(open(descriptor, "r+b", buffering=0))
            self._array.resume = self._earlier_rows_are_whole()
            if not self._array.resume:
                Path(self._key_path).unlink(missing_ok=True)
            files.enter_context(self._array)
            if not self._array.resume:
                self.done = np.zeros(self.rows, dtype=bool)
                self._record_done()
                # Written last: with this key in place, the files above are whole.
                with writing(self._key_path, self.bytes):
                    Path(self._key_path).write_text(json.dumps({"sources_sha256": self.digest}), "utf-8")
            self._files = files.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._files:
            self.flush()

    def _earlier_rows_are_whole(self) -> bool:
        try:
            same = json.loads(Path(self._key_path).read_bytes()) == {"sources_sha256": self.digest}
            size = os.path.getsize(self._array.partial)
        except (OSError, ValueError):
            return False
        self.done = np.frombuffer(self._done_file.read(), dtype=np.uint8).astype(bool)
        return same and len(self.done) == self.rows and size == self.bytes

    def _record_done(self) -> None:
        with writing(self._array.path, self.bytes):
            self._done_file.seek(0)
            self._done_file.write(self.done.tobytes())
            self._done_file.truncate()
            os.fsync(self._done_file.fileno())

    def write(self, row: int, image: np.ndarray) -> None:
        """Writes one image, uint8 H x W x 3."""
        assert image.dtype == np.uint8
        self._array.write(row, image[None])
        self._unflushed.append(row)
        if len(self._unflushed) >= self.ROWS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        """Puts the rows written so far on disk, and then on the record."""
        if self._unflushed:
            self._array.sync()
            self.done[self._unflushed] = True
            self._unflushed = []
            self._record_done()

    def commit(self, manifest: dict[str, Any], progress: Progress | None = None) -> ImagePack:
        """Gives the files their names, the manifest last, and returns the finished pack.

        Args:
            manifest: what only the caller knows: ``text`` (see :func:`text_fingerprint`) and the sources.
        """
        self.flush()
        assert self.done.all(), "commit() before every row was written"
        images = checksum_of_file(self._array.partial, progress)
        written = {
            "image_size": self.image_size,
            "sentences": len(self.index),
            "sentences_with_image": int((self.index != NO_IMAGE).sum()),
            "images": self.rows,
            "images_sha256": images.sha256,
            "images_blocks": images.blocks,
            "sources_sha256": self.digest,
        }
        with self._index_array as index:
            index.write(0, self.index)
            written["index_sha256"] = sha256_of_file(index.partial)
            commit(self._manifest_path, {**written, **manifest}, [self._array, index])
        for path in progress_paths(self.prefix):
            os.remove(path)
        return ImagePack.open(self.prefix)
