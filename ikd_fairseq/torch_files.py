"""Files of ``torch.save``: read without running the code that they may hold, and written."""

import contextlib
import os
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from typing import IO, Any

from .checkpoint_weights import verify_archive
from .errors import IkdError, check_file


def register_safe_globals() -> None:
    """Lets PyTorch's safe loader (``weights_only=True``) read the checkpoints of fairseq.

    A checkpoint's ``args`` entry may be an :class:`argparse.Namespace`, a plain holder of attributes, and
    runs with ``--eval-bleu`` store their n-gram counts as numpy arrays. Turning the safe loader off instead
    would let a checkpoint run code. Called before every load: timm takes Namespace off the list again.
    """
    import numpy as np
    import torch

    # How numpy pickles an array and a scalar, and the types of both.
    rebuild_array: Any = np.empty(0).__reduce__()[0]
    rebuild_scalar: Any = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")]
    torch.serialization.add_safe_globals(
        [Namespace, np.ndarray, np.dtype, rebuild_array, rebuild_scalar, *types]
    )
    # numpy 2 moved both functions; a file written under numpy 1 names the old place, and the other way round.
    for function in (rebuild_array, rebuild_scalar):
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            torch.serialization.add_safe_globals([(function, f"{module}.{function.__name__}")])


@contextlib.contextmanager
def reading(path: str | os.PathLike, what: str = "checkpoint") -> Iterator[None]:
    """Turns every way in which PyTorch's safe loader refuses the file *path* into one sentence.

    Raises:
        IkdError: the file holds a type that could run code when loaded (none was), or is damaged.
    """
    damaged = f"{what} {path} is truncated or is no checkpoint of PyTorch"
    try:
        yield
    except IkdError:
        raise
    except pickle.UnpicklingError as error:
        if refused := re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error)):
            raise IkdError(
                f"{what} {path} is refused: it holds {refused[1]}, which would run code when loaded (nothing "
                "of it was run); save plain tensors and numbers instead"
            ) from error
        raise IkdError(damaged) from error
    except zipfile.BadZipFile as error:
        raise IkdError(f"{what} {path} is damaged ({error}): copy it again, or take another one") from error
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise IkdError(f"{damaged} ({reason})") from error


def load_safely(path: str | os.PathLike, what: str = "checkpoint") -> Any:
    """Reads a file of ``torch.save`` and runs no code that it may hold. Its tensors are views of the file.

    Raises:
        IkdError: the file is damaged, or holds more than tensors and plain values.
    """
    import torch

    check_file(path)
    register_safe_globals()
    with reading(path, what):
        archive = zipfile.is_zipfile(path)  # files of PyTorch < 1.6 are none, and cannot be mapped
        state = os.stat(path)
        if archive:
            verify_archive(os.path.realpath(path), state.st_size, state.st_mtime_ns)
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=archive)


class _Stream:
    """A file that ``torch.save`` writes to, and the error that it makes something else of."""

    def __init__(self, stream: IO[bytes]):
        self._stream = stream
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            return self._stream.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """What whoever opened the file does."""


def save(value: Any, stream: IO[bytes]) -> None:
    """``torch.save`` into an open file; a full disk is the :class:`OSError` that it is."""
    import torch

    file = _Stream(stream)
    try:
        torch.save(value, file)
    except RuntimeError as error:
        if file.error is not None:
            raise file.error from error
        raise
