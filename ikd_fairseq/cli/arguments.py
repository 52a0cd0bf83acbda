"""Arguments that several commands take: their types, and which of them were given."""

import argparse
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..io.progress import set_up_logging


def _number(kind: Callable[[str], Any], accepted: Callable[[Any], bool], description: str):
    def parse(text: str):
        with contextlib.suppress(ValueError):
            if accepted(number := kind(text)):
                return number
        raise argparse.ArgumentTypeError(f"{text!r} is not {description}")

    return parse


positive_int = _number(int, lambda number: number > 0, "a whole number above 0")
share = _number(float, lambda number: 0 < number <= 1, "a number above 0 and up to 1")
positive_float = _number(float, lambda number: 0 < number < math.inf, "a number above 0")


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, intermixed: bool = False
) -> argparse.Namespace:
    """The arguments in *argv*, or those of the process. The command may log from here on.

    Args:
        intermixed: options may stand between arguments of which there can be several.
    """
    args = (parser.parse_intermixed_args if intermixed else parser.parse_args)(argv)
    set_up_logging()
    return args


def given(args: argparse.Namespace, *names: str) -> str:
    """Those of the options *names* that the user gave, as a message lists them; empty if there are none."""
    values = ((name, getattr(args, name)) for name in names)
    flags = (
        "--" + name.replace("_", "-") for name, value in values if value is not None and value is not False
    )
    return ", ".join(flags)
