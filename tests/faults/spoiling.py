"""Ways to spoil a file: any file, an array, a manifest, a checkpoint."""

import io
import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Spoil = Callable[[Path], object]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def rewrite(path: Path, value: bytes | str) -> None:
    path.write_bytes(value.encode() if isinstance(value, str) else value)


def _flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


# Of the content of any file.
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "with a byte more": lambda data: data + b"\0",
    "random bytes": lambda data: random.Random(1).randbytes(max(len(data), 200)),
    "zeros": lambda data: bytes(len(data)),
    "a line of text": lambda data: b"404 not found\n",
    "a flipped bit in its header": lambda data: _flip(data, 2),
    "a flipped bit in the middle": lambda data: _flip(data, len(data) // 2),
    "a flipped bit at its end": lambda data: _flip(data, len(data) - 1),
}


def _folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def _fifo(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def _loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


# Of what lies under its name.
PLACES: dict[str, Spoil] = {
    "missing": remove,
    "a folder": _folder,
    "a fifo": _fifo,
    "a link to itself": _loop,
}


def file_spoils() -> dict[str, Spoil]:
    """What can happen to any file."""
    spoils: dict[str, Spoil] = dict(PLACES)
    for name, change in BYTES.items():
        spoils[name] = lambda path, change=change: rewrite(path, change(path.read_bytes()))
    return spoils


def _resaved(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def spoil(path: Path) -> None:
        array = change(np.load(path))
        with open(path, "wb") as stream:
            np.save(stream, array, allow_pickle=True)

    return spoil


def _with(value: Any, position: int = 3) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.reshape(-1)[position] = np.array(value).astype(array.dtype)  # -7 of an unsigned type is large
        return array

    return change


def _header(text: str, version: bytes = b"\x01\x00") -> Spoil:
    header = text.encode("latin-1") + b"\n"
    data = b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + bytes(64)
    return lambda path: rewrite(path, data)


def _archive(path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, array=np.load(path))
    rewrite(path, stream.getvalue())


ARRAYS: dict[str, Spoil] = {
    "of another type": _resaved(lambda array: array.astype(np.float64)),
    "of the other byte order": _resaved(lambda array: array.astype(array.dtype.newbyteorder(">"))),
    "in Fortran's order": _resaved(lambda array: np.asfortranarray(array[None])),
    "a row less": _resaved(lambda array: array[:-1]),
    "a row more": _resaved(lambda array: np.concatenate([array, array[:1]])),
    "no row": _resaved(lambda array: array[:0]),
    "a single number": _resaved(lambda array: np.array(3, array.dtype)),
    "objects": _resaved(lambda array: np.array([{"a": 1}, None], dtype=object)),
    "an archive of arrays": _archive,
    "a shape beyond any memory": _header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 64)}"
    ),
    "a shape beyond any number": _header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30},)}}"),
    "a negative shape": _header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4)}"),
    "a header that is no literal": _header("{'descr': '<f4', 'shape': __import__('os').getpid()}"),
    "an unclosed header": _header("{'descr': '<f4', 'shape': ((("),
    "a deeply nested header": _header("(" * 5000),
    "of version 9": _header("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", b"\x09\x00"),
}
FLOATS: dict[str, Spoil] = {
    "a NaN": _resaved(_with(np.nan)),
    "an infinity": _resaved(_with(-np.inf)),
}
INDEXES: dict[str, Spoil] = {
    "a row that is not there": _resaved(_with(1000)),
    "a negative row": _resaved(_with(-7)),
}


def _json(change: Callable[[Any], Any]) -> Spoil:
    def spoil(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    return spoil


def manifest_spoils(path: Path) -> dict[str, Spoil]:
    """What can be wrong with the JSON object in *path*: its syntax, each of its entries."""
    spoils: dict[str, Spoil] = {
        "no JSON": lambda path: rewrite(path, "{format: 1"),
        "a list": lambda path: rewrite(path, "[1, 2]"),
        "null": lambda path: rewrite(path, "null"),
        "in Latin-1": lambda path: rewrite(path, '{"format": 1, "text": "ü"}'.encode("latin-1")),
        "nested too deeply": lambda path: rewrite(path, "[" * 100_000),
        "of format 99": _json(lambda value: {**value, "format": 99}),
    }
    for key, value in json.loads(path.read_text(encoding="utf-8")).items():
        if key in ("format", "version"):
            continue
        spoils[f"without {key!r}"] = _json(
            lambda found, key=key: {name: entry for name, entry in found.items() if name != key}
        )
        bad = {"a": []} if isinstance(value, (int, str)) else 7
        spoils[f"{key!r} of another kind"] = _json(lambda found, key=key, bad=bad: {**found, key: bad})
        if isinstance(value, int) and not isinstance(value, bool):
            for number in (-1, 0, 10**30):
                spoils[f"{key!r} is {number}"] = _json(
                    lambda found, key=key, number=number: {**found, key: number}
                )
    return spoils


class Hostile:
    """Pickled into a file, runs a command when an unsafe loader reads it."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def checkpoint(change: Callable[[dict, Path], Any]) -> Spoil:
    """Loads a checkpoint, changes it, or replaces it by what *change* returns, and saves it."""

    def spoil(path: Path) -> None:
        state = torch.load(path, weights_only=False)
        changed = change(state, path.parent)
        torch.save(state if changed is None else changed, path)

    return spoil
