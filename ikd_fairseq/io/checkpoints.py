"""What a checkpoint of fairseq holds: reading, settings, parameters, means of several, writing.

A checkpoint is read with PyTorch's safe loader only (:func:`ikd_fairseq.compat.register_safe_globals` names the
few more types that fairseq's files need), and memory-mapped: tensors come from disk when they are used, so that
ten checkpoints with their optimizer states can be open at once. What is written appears only when complete.
"""

import argparse
import logging
import os
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..compat import load_safely
from ..errors import IkdError, check
from .atomic import check_output, write_atomically
from .progress import progress

logger = logging.getLogger(__name__)

State = dict[str, Any]

# What each way to choose checkpoints looks for in a folder; the group "order" ranks the files.
PATTERNS = {
    "epochs": re.compile(r"checkpoint(?P<order>\d+)\.pt"),
    "updates": re.compile(r"checkpoint_\d+_(?P<order>\d+)\.pt"),
    # fairseq appends digits after the third decimal to tell ties apart.
    "best": re.compile(r"checkpoint\.best_(?P<metric>.+)_(?P<order>-?\d+\.\d{3})\d*\.pt"),
}
_EXAMPLES = {
    "epochs": "checkpointN.pt",
    "updates": "checkpoint_EPOCH_UPDATE.pt",
    "best": "checkpoint.best_METRIC_VALUE.pt",
}
_KEEP_OPTIONS = {
    "epochs": "--keep-last-epochs",
    "updates": "--keep-interval-updates",
    "best": "--keep-best-checkpoints",
}

# Entries of "extra_state" that describe one checkpoint's parameters and would be wrong for a mean of several.
_NOT_OF_THE_MEAN = ("metrics", "val_loss", "best", "ema", "ema_fp32_params")

# Entries of a state dictionary that are no parameters: running statistics, and marks of fairseq's modules.
_BUFFERS = re.compile(r"\.(running_mean|running_var|num_batches_tracked|_float_tensor|version)$")


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


def architecture_of(state: State) -> str:
    """The name that ``--arch`` had in training, empty if the checkpoint does not say."""
    settings = config_section(state, "model")
    return str(settings.get("_name") or settings.get("arch") or "")


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


def write_checkpoint(state: State, path: os.PathLike) -> None:
    """Writes *state* to *path* in the format of ``torch.save``, complete or not at all."""
    with write_atomically(path) as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:  # what torch.save makes of a full disk
            raise IkdError(f"{path} cannot be written ({str(error).splitlines()[0]})") from error


def is_buffer(name: str) -> bool:
    """Whether the entry *name* of a state dictionary is no parameter."""
    return bool(_BUFFERS.search(name))


def parameters_of(state: State, left_out: Sequence[str] = ()) -> list[torch.Tensor]:
    """The parameters in a checkpoint, tied ones once, but for those whose names begin with one of *left_out*."""
    return list(
        {
            memory_of(tensor): tensor
            for name, tensor in state["model"].items()
            if tensor.is_floating_point() and not is_buffer(name) and not name.startswith(tuple(left_out))
        }.values()
    )


def size_in_megabytes(paths: Sequence[os.PathLike]) -> float:
    """The size of all *paths* together, in units of 10^6 bytes."""
    return sum(os.path.getsize(path) for path in paths) / 1e6


def select_checkpoints(folder: os.PathLike, by: str, count: int, upto: int | None = None) -> list[Path]:
    """The *count* last or best checkpoints that fairseq saved in *folder*.

    Args:
        folder: a ``--save-dir`` of fairseq.
        by: "epochs", "updates" (saved within an epoch) or "best" (of ``--keep-best-checkpoints``).
        count: how many.
        upto: ignore later epochs, or updates, than this one.

    Returns:
        The files from the highest epoch, update or metric value to the lowest (for "best": best first).

    Raises:
        IkdError: the folder holds fewer, or best checkpoints of several metrics.
    """
    matches = [match for match in map(PATTERNS[by].fullmatch, sorted(os.listdir(folder))) if match]
    highest_first = True
    if by == "best" and matches:
        metrics = sorted({match["metric"] for match in matches})
        check(
            len(metrics) == 1,
            f"{folder} holds the best checkpoints by several metrics "
            f"({', '.join(metrics)}); name the files to average instead",
        )
        settings = config_section(load_checkpoint(Path(folder, matches[0].string)), "checkpoint")
        highest_first = bool(settings.get("maximize_best_checkpoint_metric", False))
    if upto is not None:
        matches = [match for match in matches if float(match["order"]) <= upto]
    bound = "" if upto is None else f" up to {upto}"
    check(
        len(matches) >= count,
        f"{folder} holds {len(matches)} checkpoints named {_EXAMPLES[by]}{bound}, "
        f"but --last asks for {count}; ask for fewer, or keep more in training ({_KEEP_OPTIONS[by]})",
    )
    matches.sort(key=lambda match: float(match["order"]), reverse=highest_first)
    return [Path(folder, match.string) for match in matches[:count]]


def average_models(models: Sequence[dict[str, torch.Tensor]], newest: int) -> dict[str, torch.Tensor]:
    """The mean of several state dictionaries with the same keys and shapes, entry by entry.

    Args:
        models: the state dictionaries, tensors of any shape on the CPU.
        newest: index of the one whose integer entries (counters) and dtypes are taken.

    Returns:
        New tensors. Sums run in float64 whatever the stored dtype. Entries that share memory in every input
        (tied embeddings) share it in the result.
    """
    averaged: dict[str, torch.Tensor] = {}
    done: dict[Hashable, torch.Tensor] = {}
    for key, like in progress(models[newest].items(), desc="average", unit="tensor"):
        tensors = [model[key] for model in models]
        memory = tuple(map(memory_of, tensors))
        if memory not in done:
            if like.is_floating_point():
                total = torch.zeros(like.shape, dtype=torch.float64)
                for tensor in tensors:
                    total += tensor
                done[memory] = (total / len(tensors)).to(like.dtype)
            else:
                done[memory] = like.clone()
        averaged[key] = done[memory]
    return averaged


def _check_same_parameters(paths: Sequence[os.PathLike], states: Sequence[State]) -> None:
    first, model = paths[0], states[0]["model"]
    for path, state in zip(paths[1:], states[1:]):
        other = state["model"]
        for key in model:
            check(key in other, f"{first} and {path} are of different models: {key} is in the first alone")
            shapes = tuple(model[key].shape), tuple(other[key].shape)
            check(
                shapes[0] == shapes[1],
                f"{first} and {path} are of different models: {key} has shape {shapes[0]} and {shapes[1]}",
            )
            check(
                model[key].is_floating_point() == other[key].is_floating_point(),
                f"{first} and {path} are of different models: {key} is of type {model[key].dtype} and "
                f"{other[key].dtype}",
            )
        for key in other:
            check(key in model, f"{first} and {path} are of different models: {key} is in the second alone")


def average_checkpoints(paths: Sequence[os.PathLike], output: os.PathLike) -> None:
    """Writes the mean of the checkpoints *paths* to *output*, which loads wherever one of them would.

    Settings, counters and the rest come from the one with the most updates; optimizer state is left out; the
    files averaged are listed in ``extra_state["averaged_checkpoints"]``.

    Raises:
        IkdError: a file cannot be used, the models differ, or the output cannot be written.
    """
    check_output(output, paths)
    real_paths = [os.path.realpath(path) for path in paths]
    for place, path in enumerate(paths):
        check(
            real_paths[place] not in real_paths[:place], f"{path} is given twice; name each checkpoint once"
        )
    states = [load_checkpoint(path) for path in progress(paths, desc="open", unit="file")]
    _check_same_parameters(paths, states)
    newest = max(range(len(states)), key=lambda place: num_updates(states[place]))

    averaged = without_optimizer(states[newest])
    averaged["model"] = average_models([state["model"] for state in states], newest)
    extra_state = states[newest]["extra_state"]
    extra_state = {key: value for key, value in extra_state.items() if key not in _NOT_OF_THE_MEAN}
    extra_state["averaged_checkpoints"] = [
        {"file": str(path), "num_updates": num_updates(state)} for path, state in zip(paths, states)
    ]
    averaged["extra_state"] = extra_state
    write_checkpoint(averaged, output)
    logger.info(
        "wrote %s (%.1f MB), the mean of %d checkpoints (%.1f MB)",
        output,
        size_in_megabytes([output]),
        len(paths),
        size_in_megabytes(paths),
    )
