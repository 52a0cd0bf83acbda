"""One writer of a file at a time, and nothing left behind by writers that were killed.

The lock of ``FOLDER/NAME`` is the system's on ``FOLDER/.NAME.ikd-lock``: it ends with its process, however
that ends, and no child inherits it. In the file stands who holds it. A command that works long on an output
holds its lock from the start, and a second one stops at once; what is written in one go waits for its turn.
"""

import atexit
import contextlib
import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import IO

from ..errors import IkdError

StrPath = str | os.PathLike[str]

PATIENCE = 60.0  # seconds that a file which is written in one go is waited for

_LOCK = re.compile(r"\.(?P<name>.+)\.ikd-lock")
_LONGEST_COMMAND = 120  # characters of it in a message
# The file system has no locks, as some networks' have none. What is written is whole; the last writer wins.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
# Seconds that a lock is asked for at least: its last holder may be removing the file, or another look at it.
_MOMENT = 0.2

# By path, the process that holds its lock: a forked child has the entry too, but not the lock.
_held: dict[str, int] = {}


def partial_name(path: StrPath) -> str:
    """What *path* is called until it is complete, where it is written in one go."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}.tmp")


def is_left_behind(name: str) -> bool:
    """Whether a file of that *name* may be what a killed writer has left: a partial file, or a lock."""
    return bool(re.fullmatch(r"\..+\.\d+\.tmp", name) or _LOCK.fullmatch(name))


def is_claimed(path: StrPath) -> bool:
    """Whether this process holds the lock of *path*."""
    return _held.get(_key(path)) == os.getpid()


@contextlib.contextmanager
def claim(path: StrPath, wait: float = 0.0) -> Iterator[bool]:
    """Holds the lock of the file *path*, whose folder is there.

    Gives whether there is one: some file systems have no locks.

    Removes at its start what killed writers of this or of other files left behind in the folder.

    Args:
        wait: seconds to wait for another process to end its work.

    Raises:
        IkdError: another process, or this one already, is writing it; or the folder cannot be written to.
    """
    if is_claimed(path):
        raise IkdError(f"{path} is being written by this very process: let it end first")
    key, stream = _key(path), _acquire(path, wait)
    _held[key] = os.getpid()
    try:
        if stream is not None:  # else nobody knows whose partial files these are
            _remove_left_behind(key)
        yield stream is not None
    finally:
        if _held[key] == os.getpid():
            del _held[key]
            if stream is not None:
                _release(key, stream)


def claimed(path: StrPath, wait: float = 0.0) -> contextlib.AbstractContextManager[bool | None]:
    """:func:`claim`, for parts of a work whose whole may have the lock already."""
    return contextlib.nullcontext() if is_claimed(path) else claim(path, wait)


def claim_for_good(path: StrPath) -> None:
    """:func:`claim` until the process ends. Does nothing if it holds the lock already."""
    if not is_claimed(path):
        lock = claim(path)
        lock.__enter__()
        atexit.register(lock.__exit__, None, None, None)


def _key(path: StrPath) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def _lock_path(key: str) -> str:
    folder, name = os.path.split(key)
    return os.path.join(folder, f".{name}.ikd-lock")


def _acquire(path: StrPath, wait: float) -> IO[str] | None:
    """The open lock file, locked; None where there can be no locks."""
    key, end = _key(path), time.monotonic() + max(wait, _MOMENT)
    while True:
        try:
            stream = _try_to_lock(key)
        except ImportError:  # Windows
            return None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise IkdError(f"{path} cannot be written ({error.strerror or error})") from error
        if stream is not None:
            _sign(stream)
            return stream
        if time.monotonic() >= end:
            holder = _holder(key)
            raise IkdError(f"{path} is being written by {holder}: wait until that has ended, or end it")
        time.sleep(0.05)


def _try_to_lock(key: str) -> IO[str] | None:
    """None if another process holds the lock. Raises :class:`OSError` where there can be none."""
    import fcntl

    with contextlib.ExitStack() as closing:
        stream = closing.enter_context(open(_lock_path(key), "a+", encoding="utf-8"))
        try:
            # Not flock(), which the children of a killed process would go on to hold.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file after it was opened here.
            if not os.path.samestat(os.fstat(stream.fileno()), os.stat(_lock_path(key))):
                return None
        except (BlockingIOError, FileNotFoundError):
            return None
        closing.pop_all()
        return stream


def _sign(stream: IO[str]) -> None:
    """Writes into a lock file who holds it; on a full disk it does without."""
    command = " ".join([os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]])
    since = datetime.now().isoformat(" ", "seconds")
    holder = {"process": os.getpid(), "host": os.uname().nodename, "command": command, "since": since}
    with contextlib.suppress(OSError):
        stream.truncate(0)
        stream.write(json.dumps(holder))
        stream.flush()


def _holder(key: str) -> str:
    """Who holds a lock, as its file says."""
    try:
        with open(_lock_path(key), encoding="utf-8") as stream:
            found = json.load(stream)
        command = str(found["command"])
        command = command if len(command) <= _LONGEST_COMMAND else command[:_LONGEST_COMMAND] + " ..."
        host = "" if found["host"] == os.uname().nodename else f" on {found['host']}"
        return f"process {found['process']}{host} ({command}) since {found['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


def _release(key: str, stream: IO[str]) -> None:
    with contextlib.suppress(OSError):
        os.remove(_lock_path(key))  # while it is locked: whoever has opened it meanwhile sees that it is gone
    with contextlib.suppress(OSError):
        stream.close()


def _remove_left_behind(own: str) -> None:
    """Removes the partial files of *own*, and those of other files beside it whose writers were killed.

    A killed writer leaves its lock file, too, which nobody holds any more.
    """
    folder = os.path.dirname(own)
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
        for lock in filter(None, map(_LOCK.fullmatch, names)):
            key = os.path.join(folder, lock["name"])
            stream = None if _held.get(key) == os.getpid() else _try_to_lock(key)
            if key == own or stream is not None:
                partial = re.compile(re.escape(f".{lock['name']}.") + r"\d+\.tmp")
                for name in filter(partial.fullmatch, names):
                    os.remove(os.path.join(folder, name))
            if stream is not None:
                _release(key, stream)
