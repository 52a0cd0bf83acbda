"""What stands beside data and says what it is: manifests, fingerprints of files and of binarised text."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import IkdError, check
from ..version import __version__
from .atomic import sync_folder, write_json
from .text_index import sentence_counts, text_index_files

FORMAT = 1  # of manifests; raised when an older reader would misread newer data

_READ_BYTES = 1 << 22

# What a text index is recorded as: {"sentences": int, "sha256": str}, by file name.
TextFingerprint = dict[str, dict[str, Any]]
# Called with the number of bytes just read or written, such as tqdm's ``update``.
Progress = Callable[[int], object]


def sha256_of_file(path: str, progress: Progress | None = None) -> str:
    """Returns the SHA-256 of a file in hexadecimal, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def check_sha256(path: str, recorded: str, remedy: str, progress: Progress | None = None) -> None:
    """Refuses a file with another SHA-256 than its manifest has *recorded*. Raises :class:`IkdError`."""
    unchanged = sha256_of_file(path, progress) == recorded
    check(unchanged, f"{path} does not have the SHA-256 of its manifest: {remedy}")


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
    for name in text_index_files(data_dir, split):
        path = os.path.join(data_dir, name)
        same = name in recorded and sha256_of_file(path) == recorded[name]["sha256"]
        check(same, f"{pack} was made for another preparation of the text than {path}: {remedy}")


def read_manifest(path: str, keys: dict[str, type], remedy: str) -> dict[str, Any]:
    """Reads a manifest that must have the given *keys*, each of the given type. Raises :class:`IkdError`."""
    manifest: dict[str, Any] = _read_json(path, remedy)
    readable = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    check(readable, f"{path} is not a manifest of format {FORMAT}, the one this version reads: {remedy}")
    for key, kind in keys.items():
        check(type(manifest.get(key)) is kind, f"{path} has no valid entry {key!r}: {remedy}")
    return manifest


def write_manifest(path: str, manifest: dict[str, Any]) -> None:
    """Writes a manifest in one step, with the format number and the version of this package."""
    write_json(path, {"format": FORMAT, **manifest, "version": __version__})


def remove_manifest(path: str) -> None:
    """Makes earlier data unloadable before its files are replaced, so that old and new never mix."""
    Path(path).unlink(missing_ok=True)
    sync_folder(path)


def read_record(path: str) -> dict[str, Any] | None:
    """The JSON object in the file *path*, or None if there is no such file. Raises :class:`IkdError`."""
    if not os.path.exists(path):
        return None
    remedy = "remove its folder and start again"
    record: dict[str, Any] = _read_json(path, remedy)
    check(isinstance(record, dict), f"{path} is no record of this command: {remedy}")
    return record


def _read_json(path: str, remedy: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError) as error:
        raise IkdError(f"{path} cannot be read ({error}): {remedy}") from error


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """The entries of *now* that are others in *then*, in words for a message; empty if there are none."""
    words = []
    for name, value in now.items():
        if then.get(name) != value:
            short = isinstance(value, (int, str)) and name in then
            words.append(name.replace("_", "-") + (f" ({then[name]}, now {value})" if short else ""))
    return ", ".join(words)
