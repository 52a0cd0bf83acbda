"""Image packs: the images of one split as a memory-mapped array beside the binarised text.

A pack is three files, ``DATA/SPLIT`` plus:

- ``.images.npy``: uint8, ``rows x H x W x 3`` (RGB), one row a distinct image;
- ``.images.index.npy``: int32, for every sentence its row in the array above, or ``NO_IMAGE``;
- ``.images.json``: the manifest: size, counts, sources, SHA-256 of both arrays, fingerprint of the text.

:class:`ImagePackWriter` writes under ``.partial`` names, remembers on disk which rows are done, and renames
the manifest last, so that a run killed at any moment leaves nothing that loads, and the next one goes on from
there.
"""

import contextlib
import errno
import hashlib
import json
import os
from typing import Any

import numpy as np

from ..constants import IMAGES_SUFFIX, INDEX_SUFFIX, MANIFEST_SUFFIX, NO_IMAGE
from ..errors import IkdError, check
from ..io.arrays import MappedArray, npy_bytes, npy_header, open_array
from ..io.atomic import PARTIAL_SUFFIX, check_disk_space, disk_full_named, write_atomically
from ..io.manifests import (
    FORMAT,
    Progress,
    TextFingerprint,
    check_text_fingerprint,
    read_manifest,
    remove_manifest,
    sha256_of_file,
    write_manifest,
)

DONE_SUFFIX = ".images.done"  # only ever with PARTIAL_SUFFIX: one byte a row, 1 when that row is on disk

_REMEDY = "run ikd-pack-images again"


def read_index(path: str, sentences: int, rows: int, digest: str, remedy: str) -> np.ndarray:
    """Reads ``SPLIT.images.index.npy``: int32, *sentences* entries below *rows*, not all ``NO_IMAGE``.

    Raises :class:`IkdError`.
    """
    index = np.array(open_array(path, (sentences,), np.int32, remedy))
    check(sha256_of_file(path) == digest, f"{path} does not have the SHA-256 of its manifest: {remedy}")
    check(
        bool(((index == NO_IMAGE) | ((index >= 0) & (index < rows))).all()),
        f"{path} names rows outside of the {rows} that there are: {remedy}",
    )
    check(bool((index != NO_IMAGE).any()), f"{path} gives no sentence an image: {remedy}, or remove the pack")
    return index


_MANIFEST_KEYS = {
    "image_size": int,
    "sentences": int,
    "images": int,
    "images_sha256": str,
    "index_sha256": str,
    "sources_sha256": str,
    "text": dict,
}


def read_image_manifest(prefix: str) -> dict[str, Any]:
    """Reads ``SPLIT.images.json``. Raises :class:`IkdError`."""
    return read_manifest(prefix + MANIFEST_SUFFIX, _MANIFEST_KEYS, _REMEDY)


class ImagePack:
    """The images of one split, by sentence. Cheap to open and to pickle: the array is mapped when first used.

    Attributes:
        prefix: ``DATA/SPLIT``.
        image_size: height and width of every image, in pixels.
        index: int32, N sentences: the row of each sentence's image, or ``NO_IMAGE``.
        manifest: what ``SPLIT.images.json`` says.
    """

    def __init__(self, prefix: str, manifest: dict[str, Any], index: np.ndarray, images: MappedArray):
        self.prefix = prefix
        self.manifest = manifest
        self.index = index
        self.image_size: int = manifest["image_size"]
        self._images = images

    @classmethod
    def exists(cls, prefix: str) -> bool:
        """Whether any file of a pack is there: it is for :meth:`open` to refuse an incomplete one."""
        return any(os.path.exists(path) for path in cls.paths(prefix))

    @staticmethod
    def paths(prefix: str) -> tuple[str, str, str]:
        """Returns the paths of array, index and manifest."""
        return prefix + IMAGES_SUFFIX, prefix + INDEX_SUFFIX, prefix + MANIFEST_SUFFIX

    @classmethod
    def open(cls, prefix: str) -> "ImagePack":
        """Opens the pack ``DATA/SPLIT`` and checks that its three files agree, without reading the images.

        Raises :class:`IkdError` if a file is missing, damaged, or does not fit the others.
        """
        images_path, index_path, _ = cls.paths(prefix)
        missing = [path for path in cls.paths(prefix) if not os.path.exists(path)]
        check(not missing, f"the image pack {prefix} lacks {' and '.join(missing)}: {_REMEDY}")
        manifest = read_image_manifest(prefix)
        size, rows = manifest["image_size"], manifest["images"]
        index = read_index(index_path, manifest["sentences"], rows, manifest["index_sha256"], _REMEDY)
        images = MappedArray(images_path, (rows, size, size, 3), np.uint8, _REMEDY)
        return cls(prefix, manifest, index, images)

    @property
    def images(self) -> np.ndarray:
        """All distinct images: uint8, rows x H x W x 3 (RGB), memory-mapped and read-only."""
        return self._images.array

    @property
    def coverage(self) -> int:
        """The number of sentences that have an image."""
        return int((self.index != NO_IMAGE).sum())

    def __len__(self) -> int:
        """The number of sentences, with and without an image."""
        return len(self.index)

    def __getitem__(self, sentence: int) -> np.ndarray | None:
        """Returns the image of a sentence, uint8 H x W x 3 (RGB), or None."""
        row = self.index[sentence]
        return None if row == NO_IMAGE else np.array(self.images[row])

    def check_text(self, data_dir: str, split: str) -> None:
        """Refuses the pack beside text that it was not made for. Raises :class:`IkdError`."""
        check_text_fingerprint(
            self.manifest["text"],
            self.prefix + MANIFEST_SUFFIX,
            data_dir,
            split,
            f"{_REMEDY} (it keeps the images)",
        )

    def record_text(self, text: TextFingerprint) -> None:
        """Writes into the manifest which text the pack stands beside, see :func:`text_fingerprint`."""
        self.manifest = {**self.manifest, "text": text}
        write_manifest(self.prefix + MANIFEST_SUFFIX, self.manifest)

    @property
    def nbytes(self) -> int:
        """Size of both arrays on disk, in bytes."""
        return sum(os.path.getsize(path) for path in self.paths(self.prefix)[:2])

    def verify(self, progress: Progress | None = None) -> None:
        """Reads both arrays and compares their SHA-256 with the manifest. Raises :class:`IkdError`.

        Args:
            progress: told the number of bytes read, such as tqdm's ``update``.
        """
        images_path, index_path, _ = self.paths(self.prefix)
        for path, key in ((images_path, "images_sha256"), (index_path, "index_sha256")):
            check(
                sha256_of_file(path, progress) == self.manifest[key],
                f"{path} does not have the SHA-256 of its manifest: delete it and {_REMEDY}",
            )


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


class ImagePackWriter:
    """Writes a pack row by row, in any order; what a killed writer had finished is kept for the next.

    Use as a context manager: it holds a lock, so that two runs cannot write one pack. Rows become "done" only
    after they were flushed to disk.

    Attributes:
        done: bool, one entry a row: True where an earlier run has already written that row.
    """

    ROWS_BETWEEN_FLUSHES = 256

    def __init__(self, prefix: str, image_size: int, index: np.ndarray, rows: int, digest: str):
        """Prepares the files. Raises :class:`IkdError` if the disk is too full or another writer is at work.

        Args:
            prefix: ``DATA/SPLIT``.
            image_size: in pixels.
            index: int32, N sentences: row or ``NO_IMAGE``.
            rows: number of distinct images.
            digest: of :func:`sources_digest`; rows of an earlier run are kept only if it had the same.
        """
        self.prefix, self.image_size = prefix, image_size
        self.index, self.rows, self.digest = index, rows, digest
        self._paths = ImagePack.paths(prefix)
        images_path, _, manifest_path = (path + PARTIAL_SUFFIX for path in self._paths)
        self._images_partial, self._key_path = images_path, manifest_path
        self._done_path = prefix + DONE_SUFFIX + PARTIAL_SUFFIX
        self._header = npy_header((rows, image_size, image_size, 3), np.uint8)
        self._row_bytes = image_size * image_size * 3
        self.bytes = len(self._header) + rows * self._row_bytes
        self._unflushed: list[int] = []
        self._images_file = self._done_file = -1

    def __enter__(self) -> "ImagePackWriter":
        import fcntl  # not on Windows, where packs can still be read

        try:
            self._done_file = os.open(self._done_path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(self._done_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise IkdError(
                    f"another ikd-pack-images is writing {self._images_partial}: wait for it or end it first"
                ) from error
            self._images_file = os.open(self._images_partial, os.O_RDWR | os.O_CREAT, 0o666)
            if not self._resume():
                self._start_anew()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._close()

    def _resume(self) -> bool:
        try:
            with open(self._key_path, encoding="utf-8") as stream:
                same = json.load(stream) == {"sources_sha256": self.digest}
        except (OSError, ValueError):
            return False
        done = np.frombuffer(os.pread(self._done_file, self.rows + 1, 0), dtype=np.uint8)
        if not same or len(done) != self.rows or os.fstat(self._images_file).st_size != self.bytes:
            return False
        self.done = done.astype(bool)
        return True

    def _start_anew(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._key_path)
        os.ftruncate(self._images_file, 0)
        check_disk_space(self._paths[0], self.bytes)
        self.done = np.zeros(self.rows, dtype=bool)
        with disk_full_named(self._paths[0], self.bytes):
            try:
                _allocate(self._images_file, self.bytes)
            except OSError:
                os.ftruncate(self._images_file, 0)  # gives back the part that there was space for
                raise
            _write_all(self._images_file, self._header, 0)
            os.ftruncate(self._done_file, 0)
            _write_all(self._done_file, bytes(self.rows), 0)
            os.fsync(self._images_file)
            os.fsync(self._done_file)
        # Written last: with this key in place, the files above are whole.
        with open(self._key_path, "w", encoding="utf-8") as stream:
            json.dump({"sources_sha256": self.digest}, stream)

    def write(self, row: int, image: np.ndarray) -> None:
        """Writes one image, uint8 H x W x 3."""
        assert image.shape == (self.image_size, self.image_size, 3) and image.dtype == np.uint8
        with disk_full_named(self._paths[0], self.bytes):
            _write_all(self._images_file, image.tobytes(), len(self._header) + row * self._row_bytes)
        self._unflushed.append(row)
        if len(self._unflushed) >= self.ROWS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        """Puts the rows written so far on disk, and then on the record."""
        if not self._unflushed:
            return
        with disk_full_named(self._paths[0], self.bytes):
            os.fsync(self._images_file)
            self.done[self._unflushed] = True
            self._unflushed = []
            _write_all(self._done_file, self.done.tobytes(), 0)
            os.fsync(self._done_file)

    def commit(self, manifest: dict[str, Any], progress: Progress | None = None) -> ImagePack:
        """Gives the files their names, the manifest last, and returns the finished pack.

        Args:
            manifest: what only the caller knows: ``text`` (see :func:`text_fingerprint`) and the sources.
            progress: told the number of bytes read back for the SHA-256.
        """
        self.flush()
        assert self.done.all(), "commit() before every row was written"
        images_path, index_path, manifest_path = self._paths
        remove_manifest(manifest_path)
        with write_atomically(index_path) as stream:
            stream.write(npy_bytes(self.index.astype(np.int32)))
        images_sha256 = sha256_of_file(self._images_partial, progress)
        os.replace(self._images_partial, images_path)
        write_manifest(
            manifest_path,
            {
                "image_size": self.image_size,
                "sentences": len(self.index),
                "sentences_with_image": int((self.index != NO_IMAGE).sum()),
                "images": self.rows,
                "images_sha256": images_sha256,
                "index_sha256": sha256_of_file(index_path),
                "sources_sha256": self.digest,
                **manifest,
            },
        )
        for path in (self._key_path, self._done_path):
            os.remove(path)
        return ImagePack.open(self.prefix)

    def _close(self) -> None:
        for descriptor in (self._images_file, self._done_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._images_file = self._done_file = -1


def _allocate(descriptor: int, size: int) -> None:
    """Claims the disk space now, where the system can: a disk that fills up later then does no harm."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    os.ftruncate(descriptor, size)


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
