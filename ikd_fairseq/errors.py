"""The plugin's one exception type, and how a command shows it.

Everything a user can get wrong (a file, an option, a folder) is refused through :func:`check` with one
sentence that names the file, line or option and says what to do. ``assert`` is kept for mistakes of ours.
"""

import contextlib
import functools
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator


class IkdError(ValueError):
    """Input, option or file that cannot be used. The message is one sentence for the user."""


def check(condition: object, message: str) -> None:
    """Raises :class:`IkdError` with *message* unless *condition* holds."""
    if not condition:
        raise IkdError(message)


@contextlib.contextmanager
def reading_checkpoint(path: str | os.PathLike, what: str = "checkpoint") -> Iterator[None]:
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
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise IkdError(f"{damaged} ({reason})") from error


def show_errors_without_traceback() -> None:
    """Makes an uncaught :class:`IkdError` end the process with its sentence alone, and status 1.

    fairseq's commands let exceptions run to the interpreter, which prints thirty lines of traceback above the
    one that matters. Every other exception keeps its traceback, and ``LOGLEVEL=DEBUG``, fairseq's own switch
    for more detail, brings back that of an :class:`IkdError` too.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_ikd_errors", False):
        return

    def hook(kind, error, traceback):
        sentence = _sentence_of(error)
        # Not the logger's level: fairseq sets that to DEBUG by accident (see compat).
        if sentence is None or os.environ.get("LOGLEVEL", "").upper() == "DEBUG":
            previous(kind, error, traceback)
        if sentence is not None:
            print(f"ikd_fairseq: error: {sentence}", file=sys.stderr)

    hook.shows_ikd_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _sentence_of(error: BaseException) -> str | None:
    """The sentence of an :class:`IkdError`, also of one that another exception hides.

    fairseq raises another one for whatever goes wrong with a checkpoint that training is to go on from, and
    PyTorch one in a process that fairseq started for a GPU.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, IkdError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    if type(error).__name__ == "ProcessRaisedException":  # torch.multiprocessing's: the traceback as text
        raised = re.search(rf"^{re.escape(__name__)}\.IkdError: (.+)$", str(error), re.MULTILINE)
        return raised[1] if raised else None
    return None


def command(main: Callable) -> Callable:
    """Decorates a console script's ``main(argv=None)``: an :class:`IkdError` is one line and status 1."""

    @functools.wraps(main)
    def run(argv=None):
        try:
            return main(argv)
        except IkdError as error:
            module = main.__module__.rpartition(".")[2]
            name = os.path.basename(sys.argv[0]) if module == "__main__" else module.replace("_", "-")
            print(f"{name}: error: {error}", file=sys.stderr)
            return 1

    return run
