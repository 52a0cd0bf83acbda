"""The plugin's one exception type, and how a command shows it.

Everything a user can get wrong (a file, an option, a folder) is refused through :func:`check` with one
sentence that names the file, line or option and says what to do. ``assert`` is kept for mistakes of ours.
"""

import contextlib
import functools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator


class IkdError(ValueError):
    """Input, option or file that cannot be used. The message is one sentence for the user."""


def check(condition: object, message: str) -> None:
    """Raises :class:`IkdError` with *message* unless *condition* holds."""
    if not condition:
        raise IkdError(message)


def check_file(path: str | os.PathLike, remedy: str = "") -> None:
    """Refuses what is no plain file that can be read: a reader would wait for ever for a pipe to end.

    Raises:
        IkdError: with *remedy* at its end, if there is one.
    """
    end = f": {remedy}" if remedy else ""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise IkdError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}){end}") from error
    check(not stat.S_ISDIR(mode), f"{path} is a folder, not a file{end}")
    check(stat.S_ISREG(mode), f"{path} is a pipe or a device, not a file: save what comes from it in a file")
    check(os.access(path, os.R_OK), f"{path} cannot be read (Permission denied){end}")


@contextlib.contextmanager
def naming(culprit: str) -> Iterator[None]:
    """Puts *culprit* in front of the sentence of an :class:`IkdError` that does not name it."""
    try:
        yield
    except IkdError as error:
        if culprit in str(error):
            raise
        raise IkdError(f"{culprit}: {error}") from error


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
            _end_progress_bars()
            print(f"ikd_fairseq: error: {sentence}", file=sys.stderr)

    hook.shows_ikd_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _end_progress_bars() -> None:
    """Puts the cursor behind bars that an error has left open, whose line the message would go on with."""
    bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
    for bar in list(bars):
        bar.close()


def _sentence_of(error: BaseException) -> str | None:
    """The sentence of an :class:`IkdError`, also of one that another exception hides.

    fairseq raises another one for whatever goes wrong with a checkpoint that training is to go on from, and
    PyTorch one in a process that fairseq started for a GPU, or that loads data, with the traceback as text.
    """
    cause: BaseException | None = error
    while cause is not None:
        raised = re.search(rf"^{re.escape(__name__)}\.IkdError: (.+)$", str(cause), re.MULTILINE)
        if raised and (isinstance(cause, IkdError) or type(cause).__name__ == "ProcessRaisedException"):
            return raised[1]
        if isinstance(cause, IkdError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return None


def command(main: Callable) -> Callable:
    """Decorates a console script's ``main(argv=None)``: an :class:`IkdError` is one line and status 1."""

    @functools.wraps(main)
    def run(argv=None):
        try:
            return main(argv)
        except IkdError as error:
            module = main.__module__.rpartition(".")[2]
            _end_progress_bars()
            name = os.path.basename(sys.argv[0]) if module == "__main__" else module.replace("_", "-")
            print(f"{name}: error: {error}", file=sys.stderr)
            return 1

    return run
