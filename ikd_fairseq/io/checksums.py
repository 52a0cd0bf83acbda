"""Checksums of stored arrays, recorded when they are written and held against them when they are opened.

Of a file up to ``WHOLE`` bytes the SHA-256 is compared, once in a process. To read a larger one whole would
delay every start by seconds (a second for 400 to 1,200 MB, and the disk's time); of it ``SAMPLES`` blocks are
compared, drawn anew at every start, by their CRC-32. That finds a file that was copied in part, exchanged or
mixed up with another; a single flipped bit it finds with ``SAMPLES / MOST_BLOCKS`` a start, or
``ikd-pack-images --verify`` for certain.
"""

import hashlib
import os
import random
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import check, check_file

# Called with the number of bytes just read or written, such as tqdm's ``update``.
Progress = Callable[[int], object]

WHOLE = 1 << 28  # bytes
SAMPLES = 32  # blocks
MOST_BLOCKS = 1024  # of a file

_READ_BYTES = 1 << 22
_LEAST_BLOCK = 1 << 20
_ALWAYS = 1 << 20  # a file of so few bytes is verified each time, not once in a process

_verified: set[tuple[Any, ...]] = set()


class Checksum:
    """Of a file that is written, or read, from its beginning to its end.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int):
        self._sha256 = hashlib.sha256()
        self._block = max(_LEAST_BLOCK, -(-size // MOST_BLOCKS))
        self._crcs = [0]
        self._filled = 0  # bytes of the last block

    def update(self, content: bytes | memoryview) -> None:
        """Takes the next bytes."""
        self._sha256.update(content)
        rest = memoryview(content)
        while rest:
            if self._filled == self._block:
                self._crcs.append(0)
                self._filled = 0
            part = rest[: self._block - self._filled]
            self._crcs[-1] = zlib.crc32(part, self._crcs[-1])
            self._filled += len(part)
            rest = rest[len(part) :]

    @property
    def sha256(self) -> str:
        """In hexadecimal, as ``sha256sum`` prints it."""
        return self._sha256.hexdigest()

    @property
    def blocks(self) -> dict[str, Any]:
        """For a manifest: the bytes of a block, and the CRC-32 of all, eight hexadecimal digits each."""
        return {"bytes": self._block, "crc32": "".join(f"{crc:08x}" for crc in self._crcs)}


def checksum_of_file(path: str, progress: Progress | None = None) -> Checksum:
    """Reads a file. Raises :class:`IkdError` if that is not possible."""
    check_file(path)
    checksum = Checksum(os.path.getsize(path))
    with open(path, "rb") as stream:
        while block := stream.read(_READ_BYTES):
            checksum.update(block)
            if progress is not None:
                progress(len(block))
    return checksum


def sha256_of_file(path: str, progress: Progress | None = None) -> str:
    """The SHA-256 of a file in hexadecimal. Raises :class:`IkdError` if it cannot be read."""
    return checksum_of_file(path, progress).sha256


def sha256_of_words(words: Iterable[str]) -> str:
    """The SHA-256 of words in their order, such as a dictionary's, on which all numbers of words depend."""
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def check_sha256(path: str, recorded: str, remedy: str, progress: Progress | None = None) -> None:
    """Refuses a file with another SHA-256 than its manifest has *recorded*. Raises :class:`IkdError`."""
    unchanged = sha256_of_file(path, progress) == recorded
    check(unchanged, f"{path} does not have the SHA-256 of its manifest: {remedy}")


def verify(path: str, sha256: Any, blocks: Any, remedy: str) -> None:
    """Holds a file against what its manifest records, whole or in samples; the module says when.

    Args:
        sha256, blocks: of :class:`Checksum`; None where an old manifest has none, and nothing is compared.

    Raises:
        IkdError: it is another, with *remedy* at the end.
    """
    damaged = f"the checksum of {path} in its manifest is damaged: {remedy}"
    check(sha256 is None or isinstance(sha256, str), damaged)
    state = os.stat(path)
    key = (os.path.realpath(path), state.st_size, state.st_mtime_ns, state.st_ino, sha256)
    if key in _verified:
        return
    if state.st_size <= WHOLE:
        if sha256 is not None:
            check_sha256(path, sha256, remedy)
    elif blocks is not None:
        _verify_samples(path, state.st_size, blocks, remedy)
    if state.st_size > _ALWAYS:
        _verified.add(key)


def _verify_samples(path: str, size: int, blocks: Any, remedy: str) -> None:
    entries = isinstance(blocks, dict) and type(blocks.get("bytes")) is int and blocks["bytes"] > 0
    length: int = blocks["bytes"] if entries else size
    crcs: str = str(blocks.get("crc32")) if entries else ""
    count = -(-size // length)
    check(len(crcs) == 8 * count, f"the checksums of {path} in its manifest are damaged: {remedy}")
    with open(path, "rb") as stream:
        for number in random.Random().sample(range(count), min(SAMPLES, count)):
            stream.seek(number * length)
            found = zlib.crc32(stream.read(length))
            recorded = crcs[8 * number : 8 * number + 8]
            differs = f"{path} does not have the checksum of its manifest, in its block {number}"
            check(f"{found:08x}" == recorded, f"{differs}: {remedy}")
