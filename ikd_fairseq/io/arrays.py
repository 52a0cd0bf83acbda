"""Arrays in ``.npy`` files: memory-mapped to read, written row by row in any order."""

import contextlib
import errno
import io
import math
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import IkdError, check, check_file
from .atomic import PARTIAL_SUFFIX, check_disk_space, writing
from .checksums import SAMPLES, verify

_MAGIC = b"\x93NUMPY"
_SAMPLE_BYTES = 1 << 21


def npy_header(shape: tuple[int, ...], dtype: Any) -> bytes:
    """Returns the bytes that stand before the data of a ``.npy`` file in C order."""
    stream = io.BytesIO()
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": description, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def map_array(path: str, remedy: str) -> np.memmap:
    """Memory-maps the ``.npy`` file *path*, of numbers of any kind and shape. The one reader of such files.

    Raises:
        IkdError: it is none, is damaged, or holds Python objects; with *remedy* at the end.
    """
    check_file(path, remedy)
    with open(path, "rb") as stream:
        begins_so = stream.read(len(_MAGIC)) == _MAGIC
    check(begins_so, f"{path} is not a .npy file, as numpy.save writes it: {remedy}")
    try:
        with np.errstate(over="ignore"):  # of a size that no file has
            array: np.memmap = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # on a damaged header numpy raises whatever its parser does
        objects = "Python objects in dtype" in str(error)
        reason = "it holds Python objects, not numbers" if objects else str(error).split("\n")[0]
        raise IkdError(f"{path} cannot be read as an array ({reason}): {remedy}") from error
    return array


def open_array(
    path: str, shape: tuple[int, ...], dtype: Any, remedy: str, sha256: Any = None, blocks: Any = None
) -> np.memmap:
    """Memory-maps a ``.npy`` file that must hold exactly *shape* and *dtype*, and has the checksums recorded.

    Args:
        sha256, blocks: see :func:`~ikd_fairseq.io.checksums.verify`.

    Raises :class:`IkdError`, which ends with *remedy*.
    """
    array = map_array(path, remedy)
    same = array.shape == tuple(shape) and array.dtype == dtype and array.flags.c_contiguous
    recorded = f"its manifest says {np.dtype(dtype)} {tuple(shape)}"
    check(same, f"{path} holds {array.dtype} {array.shape} where {recorded}: {remedy}")
    expected, found = array.offset + array.nbytes, os.path.getsize(path)
    check(found == expected, f"{path} has {found:,} bytes instead of {expected:,}: {remedy}")
    verify(path, sha256, blocks, remedy)
    return array


class MappedArray:
    """An array on disk, mapped when first used. Pickled as a path: another process maps the file itself.

    Arguments and errors are those of :func:`open_array`, which checks the file once.
    """

    def __init__(
        self,
        path: str,
        shape: tuple[int, ...],
        dtype: Any,
        remedy: str,
        sha256: Any = None,
        blocks: Any = None,
    ):
        open_array(path, shape, dtype, remedy, sha256, blocks)
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """All rows, read-only."""
        if self._array is None:
            mapped = np.load(self.path, mmap_mode="r", allow_pickle=False)
            self._array = mapped.view(np.ndarray)  # a memmap takes three times as long to give a row
        return self._array

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        entries: np.ndarray = self.array[rows]
        return entries

    def samples(self) -> Iterator[np.ndarray]:
        """Stretches of rows, for a look at their values: all rows of an array that is not large.

        Of a larger one, ``SAMPLES`` stretches in random places, another draw each time.
        """
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        stretch = max(1, _SAMPLE_BYTES * len(array) // max(array.nbytes, 1))
        starts: Sequence[int] = range(0, len(array), stretch)
        if len(starts) > SAMPLES:
            starts = sorted(random.Random().sample(starts, SAMPLES))
        for start in starts:
            yield array[start : start + stretch]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}


class ArrayWriter:
    """Writes a ``.npy`` file row by row, in any order, under a partial name.

    :func:`~ikd_fairseq.io.manifests.commit` gives it its own, when the caller knows that every row is there.

    Use as a context manager, which claims the disk space and raises :class:`IkdError` if there is too little.

    Args:
        keep: whether the partial file stays without a commit. Else nothing is left behind.

    Attributes:
        path: of the finished file.
        partial: its name until then.
        header: what stands before the data.
        bytes: size of the finished file.
        resume: set to go on with the rows of a partial file that is there.
    """

    def __init__(self, path: str, shape: tuple[int, ...], dtype: Any, keep: bool = False):
        self.path, self.partial = path, path + PARTIAL_SUFFIX
        self.dtype = np.dtype(dtype)
        self.header = npy_header(shape, dtype)
        self._row_shape = tuple(shape[1:])
        self._row_bytes = math.prod(self._row_shape) * self.dtype.itemsize
        self.bytes = len(self.header) + shape[0] * self._row_bytes
        self.keep, self.resume = keep, False
        self._file = -1

    def __enter__(self) -> "ArrayWriter":
        with writing(self.path, self.bytes):
            self._file = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
        if not self.resume:
            try:
                self._begin()
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, 0)  # gives back the part that there was space for
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        if not self.keep:
            with contextlib.suppress(OSError):  # not there, or the error that ends the block is of the disk
                Path(self.partial).unlink()

    def _begin(self) -> None:
        check_disk_space(self.path, self.bytes)
        with writing(self.path, self.bytes):
            os.ftruncate(self._file, 0)
            try:
                os.posix_fallocate(self._file, 0, self.bytes)  # a disk that fills up later then does no harm
            except (AttributeError, OSError) as error:
                if getattr(error, "errno", None) not in (None, errno.EOPNOTSUPP, errno.EINVAL):  # None: macOS
                    raise
                os.ftruncate(self._file, self.bytes)
        self._write_at(0, self.header)
        self.sync()

    def _write_at(self, offset: int, content: bytes) -> None:
        view = memoryview(content)
        with writing(self.path, self.bytes):
            while view:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written

    def write(self, row: int, block: np.ndarray) -> None:
        """Writes some rows, the first of them *row*. Raises :class:`IkdError` if the disk is full."""
        assert block.shape[1:] == self._row_shape, (block.shape, self._row_shape)
        content = np.ascontiguousarray(block, dtype=self.dtype).tobytes()
        self._write_at(len(self.header) + row * self._row_bytes, content)

    def sync(self) -> None:
        """Puts what was written on disk. Raises :class:`IkdError` if that is full."""
        with writing(self.path, self.bytes):
            os.fsync(self._file)
