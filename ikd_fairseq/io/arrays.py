"""Arrays in ``.npy`` files: memory-mapped to read, written row by row in any order."""

import contextlib
import io
import math
import os
from typing import IO, Any

import numpy as np

from ..errors import IkdError, check
from .atomic import PARTIAL_SUFFIX, check_disk_space, disk_full_named


def npy_header(shape: tuple[int, ...], dtype: Any) -> bytes:
    """Returns the bytes that stand before the data of a ``.npy`` file in C order."""
    stream = io.BytesIO()
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": description, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    """Returns *array* as the content of a ``.npy`` file."""
    return npy_header(array.shape, array.dtype) + np.ascontiguousarray(array).tobytes()


def open_array(path: str, shape: tuple[int, ...], dtype: Any, remedy: str) -> np.memmap:
    """Memory-maps a ``.npy`` file that must hold exactly *shape* and *dtype*, without reading its data.

    Raises :class:`IkdError`, which ends with *remedy*.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IkdError(f"{path} cannot be read as an array ({error}): {remedy}") from error
    check(isinstance(array, np.memmap), f"{path} is not a .npy file: {remedy}")
    check(
        array.shape == tuple(shape) and array.dtype == dtype and array.flags.c_contiguous,
        f"{path} holds {array.dtype} {array.shape} where its manifest says {np.dtype(dtype)} {tuple(shape)}: {remedy}",
    )
    expected, found = array.offset + array.nbytes, os.path.getsize(path)
    check(found == expected, f"{path} has {found:,} bytes instead of {expected:,}: {remedy}")
    return array


class MappedArray:
    """An array on disk, mapped when first used. Pickled as a path: another process maps the file itself.

    Arguments and errors are those of :func:`open_array`, which checks the file once.
    """

    def __init__(self, path: str, shape: tuple[int, ...], dtype: Any, remedy: str):
        open_array(path, shape, dtype, remedy)
        self.path = path
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """All rows, read-only."""
        if self._array is None:
            self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}


class ArrayWriter:
    """Writes a ``.npy`` file row by row, in any order, under a partial name until :meth:`commit`.

    Use as a context manager: without a commit, it leaves nothing behind.

    Attributes:
        path: of the finished file.
        header: what stands before the data.
        bytes: size of the finished file.
    """

    def __init__(self, path: str, shape: tuple[int, ...], dtype: Any):
        self.path = path
        self.dtype = np.dtype(dtype)
        self.header = npy_header(shape, dtype)
        self._row_shape = tuple(shape[1:])
        self._row_bytes = math.prod(self._row_shape) * self.dtype.itemsize
        self.bytes = len(self.header) + shape[0] * self._row_bytes
        self._stream: IO[bytes] | None = None

    @property
    def _partial(self) -> str:
        return self.path + PARTIAL_SUFFIX

    def __enter__(self) -> "ArrayWriter":
        """Claims the name. Raises :class:`IkdError` if the disk is too full."""
        check_disk_space(self.path, self.bytes)
        with disk_full_named(self.path, self.bytes):
            self._stream = open(self._partial, "wb")
            self._stream.truncate(self.bytes)
            self._stream.write(self.header)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
        with contextlib.suppress(FileNotFoundError):  # renamed by commit()
            os.remove(self._partial)

    def write(self, row: int, block: np.ndarray) -> None:
        """Writes some rows, the first of them *row*. Raises :class:`IkdError` if the disk is full."""
        assert block.shape[1:] == self._row_shape, (block.shape, self._row_shape)
        with disk_full_named(self.path, self.bytes):
            self._stream.seek(len(self.header) + row * self._row_bytes)
            self._stream.write(np.ascontiguousarray(block, dtype=self.dtype).tobytes())

    def sync(self) -> None:
        """Puts what was written on disk. Raises :class:`IkdError` if that is full."""
        with disk_full_named(self.path, self.bytes):
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def commit(self) -> None:
        """Gives the file its name. The caller knows that every row was written."""
        self.sync()
        os.replace(self._partial, self.path)
