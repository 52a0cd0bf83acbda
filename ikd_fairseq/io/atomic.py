"""Files and folders that appear under their names only when complete: the one place that writes so.

A file is written beside its final name and renamed when it is on disk, so that a reader, or the run after one
that was killed, finds the old content or the new one and never a part. Its lock is held meanwhile
(:mod:`.locks`).
"""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import IkdError, check, check_file
from .locks import PATIENCE, StrPath, claim, claimed, partial_name

PARTIAL_SUFFIX = ".partial"  # of large files whose unfinished content a later run may go on with


def sync_folder(path: StrPath) -> None:
    """Makes renames in the folder of *path* survive a power cut."""
    _sync(os.path.dirname(path) or ".")


def _sync(path: StrPath) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[str]:
    """A name to write under, which becomes *path* when the block ends, and vanishes when the block fails.

    Raises:
        IkdError: the file cannot be written (permissions, disk full), the block names a file of its own that
            cannot be read, or another process does not stop writing this one.
    """
    partial = partial_name(path)
    with claimed(path, PATIENCE):
        try:
            yield partial
            _sync(partial)
            os.replace(partial, path)
            sync_folder(path)
        except OSError as error:
            named = {error.filename, error.filename2} - {None}
            ours = not named or named & {partial, os.path.dirname(path) or "."}
            failed = f"{path} cannot be written" if ours else f"{error.filename} cannot be read"
            raise IkdError(f"{failed} ({error.strerror or error})") from error
        finally:
            with contextlib.suppress(OSError):
                os.remove(partial)


@contextlib.contextmanager
def write_atomically(path: StrPath, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Opens a file that takes the name *path* when the block ends. Raises as :func:`replacing`."""
    with replacing(path) as partial, open(partial, mode, **options) as stream:
        yield stream


def write_json(path: StrPath, value: Any) -> None:
    """Writes *value* as indented JSON in UTF-8. Raises as :func:`write_atomically` does."""
    # A path need not be text: what is none becomes an escape of JSON's, and is read as it was.
    with write_atomically(path, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def copy_file(source: StrPath, target: StrPath) -> None:
    """Copies the file *source* to *target*, complete or not at all."""
    with replacing(target) as partial:
        shutil.copyfile(source, partial)


def link_file(source: StrPath, target: StrPath) -> None:
    """Gives the file *source* a second name, or a copy where the file system has no such links."""
    check_file(source)
    if os.path.exists(target) and os.path.samefile(source, target):
        return
    with replacing(target) as partial:
        try:
            os.link(os.path.realpath(source), partial)
        except OSError:
            shutil.copyfile(source, partial)


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[str]:
    """A folder to write into, which becomes *path* when the block ends, and vanishes when the block fails.

    Raises:
        IkdError: *path* is there and holds something, cannot be written, or is being written.
    """
    path = os.path.realpath(path)
    parent, name = os.path.split(path)
    check_new_folder(path)
    with claim(path) as locked:
        of_killed = re.compile(rf"\.{re.escape(name)}\.\d+\.partial")
        for left_behind in filter(of_killed.fullmatch, os.listdir(parent) if locked else []):
            shutil.rmtree(os.path.join(parent, left_behind), ignore_errors=True)
        partial = os.path.join(parent, f".{name}.{os.getpid()}.partial")
        try:
            os.mkdir(partial)
            yield partial
            check_new_folder(path)
            if os.path.isdir(path):
                os.rmdir(path)
            os.rename(partial, path)
            sync_folder(path)
        except OSError as error:
            raise IkdError(f"{path} cannot be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_new_folder(path: str) -> None:
    """Refuses, before any work, a folder that is not empty or cannot be made. Raises :class:`IkdError`."""
    path = os.path.realpath(path)
    parent = os.path.dirname(path)
    mounted = f"{path} is a mount point, which cannot be replaced: give the name of a new folder in it"
    check(not os.path.ismount(path), mounted)
    check(os.path.isdir(parent), f"{path}: the folder {parent} does not exist: make it first")
    check(os.access(parent, os.W_OK), f"{path}: the folder {parent} cannot be written to")
    there = os.path.lexists(path)
    check(not there or os.path.isdir(path), f"{path} is a file; give the name of a new folder")
    empty = not there or not os.listdir(path)
    check(empty, f"{path} is not empty: empty it, or give the name of a new folder")


@contextlib.contextmanager
def writing(path: str, size: int) -> Iterator[None]:
    """Turns what the system says against writing *path*, of *size* bytes, into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise IkdError(
                f"the disk is full: {path} needs {size:,} bytes; free some space and run the command again"
            ) from error
        raise IkdError(f"{path} cannot be written ({error.strerror or error})") from error


def check_disk_space(path: str, size: int) -> None:
    """Raises :class:`IkdError` if the disk of *path*, which will have *size* bytes, has less space."""
    free = shutil.disk_usage(os.path.dirname(path) or ".").free
    check(size <= free, f"not enough disk space: {path} needs {size:,} bytes and {free:,} are free")


def check_output(output: StrPath, inputs: Iterable[StrPath] = ()) -> None:
    """Refuses, before any work, an *output* that is one of the *inputs* or that cannot be written."""
    folder = Path(os.path.realpath(output)).parent
    check(not os.path.isdir(output), f"{output}: the output is a folder; give the name of a file")
    plain = os.path.isfile(output) or not os.path.exists(output)
    check(plain, f"{output}: the output is a pipe or a device; give the name of a file")
    check(folder.is_dir(), f"{output}: the folder {folder} does not exist: make it first")
    check(os.access(folder, os.W_OK), f"{output}: the folder {folder} cannot be written to")
    for path in inputs:
        same = os.path.realpath(path) == os.path.realpath(output)
        check(not same, f"{output}: the output is one of the inputs; choose another name")
