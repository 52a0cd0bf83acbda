"""What stands beside data and says what it is: manifests, fingerprints of files and of binarised text."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import IkdError, check, check_file
from ..version import __version__
from .arrays import ArrayWriter
from .atomic import PARTIAL_SUFFIX, sync_folder, write_json
from .checksums import sha256_of_file
from .locks import PATIENCE, claimed
from .text_index import sentence_counts, text_indices

FORMAT = 1  # of manifests; raised when an older reader would misread newer data
_READY_SUFFIX = ".ready"  # of a manifest whose arrays are whole, but not all under their names yet

# What a text index is recorded as: {"sentences": int, "sha256": str}, by file name.
TextFingerprint = dict[str, dict[str, Any]]


def text_fingerprint(data_dir: str, split: str) -> TextFingerprint:
    """Returns sentence count and SHA-256 of every text index ``DATA/SPLIT.SRC-TGT.LANG.idx``.

    Raises :class:`IkdError` if there is none, if one cannot be read, or if their sentence counts differ.
    """
    return {
        name: {"sentences": count, "sha256": sha256_of_file(os.path.join(data_dir, name))}
        for name, count in sentence_counts(data_dir, split).items()
    }


def check_text_fingerprint(
    recorded: TextFingerprint, pack: str, data_dir: str, split: str, remedy: str
) -> None:
    """Refuses *pack* (a file name for the message) beside text other than it was made for.

    Every text index of the split that lies in the folder must be the one recorded; recorded files that are
    gone do no harm. Raises :class:`IkdError`.
    """
    for index in text_indices(data_dir, split):
        path = os.path.join(data_dir, index.name)
        entry = recorded.get(index.name)
        same = isinstance(entry, dict) and sha256_of_file(path) == entry.get("sha256")
        check(same, f"{pack} was made for another preparation of the text than {path}: {remedy}")


def read_manifest(path: str, keys: dict[str, type], remedy: str) -> dict[str, Any]:
    """Reads a manifest that must have the given *keys*, each of the given type. Raises :class:`IkdError`."""
    manifest: dict[str, Any] = read_json(path, remedy)
    readable = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    check(readable, f"{path} is not a manifest of format {FORMAT}, the one this version reads: {remedy}")
    for key, kind in keys.items():
        check(type(manifest.get(key)) is kind, f"{path} has no valid entry {key!r}: {remedy}")
    return manifest


def write_manifest(path: str, manifest: dict[str, Any]) -> None:
    """Writes a manifest in one step, with the format number and the version of this package."""
    write_json(path, {"format": FORMAT, **manifest, "version": __version__})


def commit(manifest_path: str, manifest: dict[str, Any], writers: Sequence[ArrayWriter]) -> None:
    """Gives arrays and manifest their names at once, as far as a reader or a killed process can tell.

    When all of it is on disk, the manifest under a name of its own says so, and from then on
    :func:`finish_commit` ends what was begun. The earlier manifest goes before the first array is replaced,
    so that old and new never mix, and the new one comes last.

    Raises:
        IkdError: the disk is full, or cannot be written to.
    """
    for writer in writers:
        writer.sync()
    write_manifest(manifest_path + _READY_SUFFIX, manifest)
    for writer in writers:
        writer.keep = True
    finish_commit(manifest_path, [writer.path for writer in writers])


def settle_commit(manifest_path: str, paths: Sequence[str]) -> None:
    """For readers: waits for a :func:`commit` that is going on, and ends one whose process was killed.

    Where the folder cannot be written to, what is there stays as it is.
    """
    if os.path.exists(manifest_path + _READY_SUFFIX):
        with contextlib.suppress(IkdError), claimed(manifest_path, PATIENCE):
            finish_commit(manifest_path, paths)


def finish_commit(manifest_path: str, paths: Sequence[str]) -> None:
    """For the holder of the lock: ends the :func:`commit` of a process that was killed in it, if any.

    Args:
        paths: of the arrays.
    """
    ready = manifest_path + _READY_SUFFIX
    if not os.path.exists(ready):
        return
    Path(manifest_path).unlink(missing_ok=True)
    sync_folder(manifest_path)
    for path in paths:
        if os.path.exists(path + PARTIAL_SUFFIX):
            os.replace(path + PARTIAL_SUFFIX, path)
    sync_folder(manifest_path)
    os.replace(ready, manifest_path)
    sync_folder(manifest_path)


def read_record(path: str) -> dict[str, Any] | None:
    """The JSON object in the file *path*, or None if there is no such file. Raises :class:`IkdError`."""
    if not os.path.exists(path):
        return None
    remedy = "remove its folder and start again"
    record: dict[str, Any] = read_json(path, remedy)
    check(isinstance(record, dict), f"{path} is no record of this command: {remedy}")
    return record


def read_json(path: str, remedy: str) -> Any:
    """What the JSON file *path* holds. Raises :class:`IkdError`, with *remedy* at its end."""
    check_file(path, remedy)
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise IkdError(f"{path} cannot be read ({error}): {remedy}") from error


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """The entries of *now* that are others in *then*, in words for a message; empty if there are none."""
    words = []
    for name, value in now.items():
        if then.get(name) != value:
            short = isinstance(value, (int, str)) and name in then
            words.append(name.replace("_", "-") + (f" ({then[name]}, now {value})" if short else ""))
    return ", ".join(words)
