"""Folders that are there complete, or not at all."""

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterator

from ..errors import IkdError, check
from ..io.atomic import sync_folder
from ..io.locks import claim
from .text import TextFacts

FACTS_FILE = "ikd_text.json"  # beside an engine's own files


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


def write_facts(folder: str, facts: TextFacts, longest: int) -> None:
    """Writes what the model's text went through, and how many subwords a sentence may have."""
    with open(os.path.join(folder, FACTS_FILE), "w", encoding="utf-8") as stream:
        json.dump({**facts.record(), "longest": longest}, stream)


def read_facts(folder: str) -> tuple[TextFacts, int]:
    """What :func:`write_facts` wrote.

    Raises:
        IkdError: the folder holds no such file, or it is damaged.
    """
    path = os.path.join(folder, FACTS_FILE)
    unknown = f"{folder} holds no {FACTS_FILE}: give a checkpoint, or a folder of ikd-export"
    check(os.path.isfile(path), f"{unknown} --format ctranslate2 or onnx")
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
    except (OSError, ValueError) as error:
        raise IkdError(f"{path} cannot be read ({error}): export the model again") from error
    facts = TextFacts.of_record(record, path)
    longest = record.get("longest")
    check(isinstance(longest, int) and longest > 0, f"{path} is damaged: export the model again")
    return facts, longest


def refuse_options(folder: str, options: dict[str, object]) -> None:
    """Refuses *options* that are for checkpoints. Raises :class:`IkdError`."""
    foreign = ", ".join(f"--{name.replace('_', '-')}" for name in options)
    check(
        not options, f"{folder}: {foreign} is for checkpoints, and this is an exported folder: leave it out"
    )
