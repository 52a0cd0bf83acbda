"""How every command of the plugin reports: one log format, one progress bar."""

import logging
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def set_up_logging() -> None:
    """Logs to standard error in fairseq's format. Called by a ``main``, never at import.

    ``force``, because importing fairseq may have set up logging already, in another format.
    """
    logging.basicConfig(
        force=True,
        format="%(asctime)s | %(levelname)s | %(name)s | %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        level=logging.INFO,
        stream=sys.stderr,
    )


def progress(iterable: Iterable[Any] | None, **options: Any) -> "tqdm[Any]":
    """A tqdm bar that redraws every half second on a terminal, every five seconds in a log."""
    interval = 0.5 if sys.stderr.isatty() else 5.0
    return tqdm(iterable, mininterval=interval, maxinterval=interval, dynamic_ncols=True, **options)
