"""Folders that are there complete, or not at all."""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator

from ..errors import IkdError, check
from ..io.atomic import sync_folder
from ..io.locks import claim


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[str]:
    """A folder to write into, which becomes *path* when the block ends, and vanishes when the block fails.

    Raises:
        IkdError: *path* is there and holds something, cannot be written, or is being written.
    """
    path = os.path.abspath(path)
    parent, name = os.path.split(path)
    _check_free(path)
    check(os.path.isdir(parent), f"{path}: the folder {parent} does not exist")
    check(os.access(parent, os.W_OK), f"{path}: the folder {parent} cannot be written to")
    pattern = os.path.join(glob.escape(parent), f".{glob.escape(name)}.*.partial")
    with claim(path):
        for left_behind in glob.glob(pattern):  # by a process that was killed
            shutil.rmtree(left_behind, ignore_errors=True)
        partial = os.path.join(parent, f".{name}.{os.getpid()}.partial")
        try:
            os.mkdir(partial)
            yield partial
            _check_free(path)
            if os.path.isdir(path):
                os.rmdir(path)
            os.rename(partial, path)
            sync_folder(path)
        except OSError as error:
            raise IkdError(f"{path} cannot be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _check_free(path: str) -> None:
    there = os.path.lexists(path)
    check(not there or os.path.isdir(path), f"{path} is a file; give the name of a new folder")
    empty = not there or not os.listdir(path)
    check(empty, f"{path} is not empty: empty it, or give the name of a new folder")
