"""Types of command line arguments that several commands take."""

import argparse


def positive_int(text: str) -> int:
    """argparse type: a whole number above 0."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number
