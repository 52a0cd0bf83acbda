"""Reading and writing fairseq checkpoints for the commands that work on finished training runs.

A checkpoint is read with PyTorch's safe loader only (importing the package registers the few more types that
fairseq's files need), and memory-mapped: tensors come from disk when they are used, so that ten checkpoints
with their optimizer states can be open at once. What is written appears under its name only when complete.
"""

import argparse
import contextlib
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from ..compat import load_safely
from ..errors import IkdError, check

State = dict[str, Any]


def load_checkpoint(path: os.PathLike) -> State:
    """Reads the fairseq checkpoint *path* to the CPU, without running any code that it may hold.

    Returns:
        The dictionary that fairseq's trainer saved. Its tensors are views of the file.

    Raises:
        IkdError: the file is missing, truncated, no checkpoint of fairseq, or holds a type that the safe
            loader refuses.
    """
    check(os.path.isfile(path), f"{path}: there is no such file")
    check(os.access(path, os.R_OK), f"{path} cannot be read; check its permissions")
    state = load_safely(path)
    _check_layout(state, path)
    return state


def _check_layout(state: Any, path: os.PathLike) -> None:
    no_fairseq = f"{path} is no checkpoint of fairseq 0.10 or later"
    check(isinstance(state, dict), f"{no_fairseq}: it holds no dictionary")
    for name, kind in (("model", dict), ("optimizer_history", list), ("extra_state", dict)):
        check(
            isinstance(state.get(name), kind) and (state[name] or kind is dict),
            f"{no_fairseq}: its entry {name!r} is missing or malformed",
        )
    check(
        state["model"] and all(torch.is_tensor(value) for value in state["model"].values()),
        f"{no_fairseq}: its entry 'model' holds no parameters",
    )
    check(
        state.get("cfg") is not None or state.get("args") is not None,
        f"{no_fairseq}: it holds neither 'cfg' nor 'args'",
    )


def config_section(state: State, name: str) -> dict[str, Any]:
    """The settings of *name* ("model", "task", "checkpoint", ...) saved in *state*; changes to them stick.

    fairseq keeps a section as a dictionary or, for parts without a dataclass, as a namespace. Checkpoints
    from before Hydra hold one namespace for everything, "args", which fairseq prefers where both stand.
    """
    if state.get("args") is not None:
        return vars(state["args"])
    section = state["cfg"].get(name)
    return vars(section) if isinstance(section, argparse.Namespace) else section or {}


def num_updates(state: State) -> int:
    """How many updates the checkpoint had been trained for."""
    return state["optimizer_history"][-1].get("num_updates", 0)


def without_optimizer(state: State) -> State:
    """A shallow copy of *state* without the optimizer's tensors.

    The last entry of the history stays, as light as it is: fairseq reads the number of updates from it and
    rejects a checkpoint that has none.
    """
    history = {key: value for key, value in state["optimizer_history"][-1].items() if key != "optimizer"}
    kept = {key: value for key, value in state.items() if key != "last_optimizer_state"}
    return {**kept, "optimizer_history": [history]}


def memory_of(tensor: torch.Tensor) -> Hashable:
    """A key that two tensors have in common exactly when they are the same view of the same memory."""
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def check_output(output: os.PathLike, inputs: Iterable[os.PathLike]) -> None:
    """Refuses, before any work, an *output* that is one of the *inputs* or that cannot be written."""
    folder = Path(output).resolve().parent
    check(not os.path.isdir(output), f"{output}: the output is a folder; give the name of a file")
    check(folder.is_dir(), f"{output}: the folder {folder} does not exist")
    check(os.access(folder, os.W_OK), f"{output}: the folder {folder} cannot be written to")
    for path in inputs:
        check(
            os.path.realpath(path) != os.path.realpath(output),
            f"{output}: the output is one of the input checkpoints; choose another name",
        )


@contextlib.contextmanager
def write_atomically(path: os.PathLike, mode: str = "wb", **options: Any) -> Iterator[IO]:
    """Opens a file that takes the name *path* when the block ends, and vanishes when the block fails.

    Raises:
        IkdError: the file cannot be written (permissions, disk full).
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, mode, **options) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise IkdError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)


def write_checkpoint(state: State, path: os.PathLike) -> None:
    """Writes *state* to *path* in the format of ``torch.save``, complete or not at all."""
    with write_atomically(path) as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:  # what torch.save makes of a full disk
            raise IkdError(f"{path} cannot be written ({str(error).splitlines()[0]})") from error


def size_in_megabytes(paths: Sequence[os.PathLike]) -> float:
    """The size of all *paths* together, in units of 10^6 bytes."""
    return sum(os.path.getsize(path) for path in paths) / 1e6
