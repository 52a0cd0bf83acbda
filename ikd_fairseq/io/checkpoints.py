"""What a checkpoint of fairseq holds: reading, settings, parameters, means of several, writing.

A checkpoint is read with PyTorch's safe loader only (:mod:`ikd_fairseq.compat` names the few more types that
fairseq's files need), and memory-mapped: tensors come from disk when they are used, so that ten checkpoints
with their optimizer states can be open at once. What is written appears only when complete.
"""

import argparse
import logging
import os
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..checkpoint_settings import check_history
from ..checkpoint_weights import check_weights
from ..constants import DICTIONARIES, LANGUAGES
from ..errors import IkdError, check
from ..torch_files import load_safely, save
from .atomic import check_output, write_atomically
from .locks import StrPath, claim
from .progress import progress

logger = logging.getLogger(__name__)

State = dict[str, Any]


class Naming(NamedTuple):
    """How fairseq names some of its checkpoints."""

    pattern: str  # its group "order" ranks the files
    example: str
    option: str  # of fairseq-train that says how many are kept


# fairseq appends digits after the third decimal of a metric to tell ties apart.
_BEST = r"checkpoint\.best_(?P<metric>.+)_(?P<order>-?\d+\.\d{3})\d*\.pt"
_UPDATE = r"checkpoint_\d+_(?P<order>\d+)\.pt"
NAMINGS = {
    "epochs": Naming(r"checkpoint(?P<order>\d+)\.pt", "checkpointN.pt", "--keep-last-epochs"),
    "updates": Naming(_UPDATE, "checkpoint_EPOCH_UPDATE.pt", "--keep-interval-updates"),
    "best": Naming(_BEST, "checkpoint.best_METRIC_VALUE.pt", "--keep-best-checkpoints"),
}

# Of "cfg", what is looked into.
_SECTIONS = ("common", "checkpoint", "optimization", "dataset", "model", "task", "criterion")

# Entries of "extra_state" that describe one checkpoint's parameters and would be wrong for a mean of several.
_NOT_OF_THE_MEAN = ("metrics", "val_loss", "best", "ema", "ema_fp32_params")

# What stays of "extra_state": fairseq wants the first; the others say where the parameters come from.
_KEPT_EXTRA_STATE = ("train_iterator", "averaged_checkpoints", "exported", "pruned")

# Entries of a state dictionary that are no parameters: running statistics, and marks of fairseq's modules.
_BUFFERS = re.compile(r"\.(running_mean|running_var|num_batches_tracked|_float_tensor|version)$")


def load_checkpoint(path: StrPath, role: str = "") -> State:
    """The dictionary that fairseq's trainer saved; its tensors are views of the file. Runs no code in it.

    Tied matrices share memory, as :func:`tie` says.

    Args:
        role: what a message calls the file, such as "teacher".

    Raises:
        IkdError: the file is missing, damaged, no checkpoint of fairseq, or holds a type that the safe
            loader refuses.
    """
    shown = f"{role} {path}".lstrip()
    check(os.path.exists(path), f"{shown}: there is no such file")
    state: State = load_safely(path, role or "checkpoint")
    no_fairseq = f"{shown} is no checkpoint of fairseq 0.10 or later"
    check(isinstance(state, dict), f"{no_fairseq}: it holds no dictionary")
    for name, kind in (("model", dict), ("optimizer_history", list), ("extra_state", dict)):
        whole = isinstance(state.get(name), kind) and (state[name] or kind is dict)
        check(whole, f"{no_fairseq}: its entry {name!r} is missing or malformed")
    parameters = state["model"] and all(map(torch.is_tensor, state["model"].values()))
    parameters = parameters and all(isinstance(name, str) for name in state["model"])
    check(parameters, f"{no_fairseq}: its entry 'model' holds no parameters")
    settings = state.get("cfg") is not None or state.get("args") is not None
    check(settings, f"{no_fairseq}: it holds neither 'cfg' nor 'args'")
    _check_settings(state, no_fairseq)
    return {**state, "model": tie(state["model"])}


def _check_settings(state: State, no_fairseq: str) -> None:
    """Refuses entries, beside the parameters, of other types than fairseq saves and is read here."""
    args, config = state.get("args"), state.get("cfg")
    namespace = args is None or isinstance(args, argparse.Namespace)
    check(namespace, f"{no_fairseq}: its entry 'args' is malformed")
    if args is None:
        sections = config if isinstance(config, dict) else {}
        check(sections, f"{no_fairseq}: its entry 'cfg' is malformed")
        for name in _SECTIONS:
            plain = isinstance(sections.get(name), dict | argparse.Namespace | None)
            check(plain, f"{no_fairseq}: the section {name!r} of its entry 'cfg' is malformed")
    check_history(state, no_fairseq)


def config_section(state: State, name: str) -> dict[str, Any]:
    """The settings of *name* ("model", "task", "checkpoint", ...) saved in *state*; changes to them stick.

    fairseq keeps a section as a dictionary or, for parts without a dataclass, as a namespace. Checkpoints
    from before Hydra hold one namespace for everything, "args", which fairseq prefers where both stand.
    """
    if state.get("args") is not None:
        return state["args"].__dict__  # type: ignore[no-any-return]
    section: Any = state["cfg"].get(name)
    return section.__dict__ if isinstance(section, argparse.Namespace) else section or {}


def architecture_of(state: State) -> str:
    """The name that ``--arch`` had in training, empty if the checkpoint does not say."""
    settings = config_section(state, "model")
    return str(settings.get("_name") or settings.get("arch") or "")


def languages_of(state: State) -> tuple[str | None, str | None]:
    """Source and target language of the training, None where the checkpoint does not say."""
    task_state = state.get("task_state")
    known = task_state.get(DICTIONARIES) if isinstance(task_state, dict) else None
    pair = known.get(LANGUAGES) if isinstance(known, dict) else None
    if isinstance(pair, str) and pair.count("-") == 1:
        source, target = pair.split("-")
        return source, target
    settings = config_section(state, "task")  # not of a folder's own pair, which fairseq infers
    return settings.get("source_lang"), settings.get("target_lang")


def num_updates(state: State) -> int:
    """How many updates the checkpoint had been trained for."""
    return int(state["optimizer_history"][-1].get("num_updates", 0))


def without_optimizer(state: State) -> State:
    """A shallow copy of *state* without the optimizer's tensors.

    The last entry of the history stays, as light as it is: fairseq reads the number of updates from it and
    rejects a checkpoint that has none.
    """
    history = {key: value for key, value in state["optimizer_history"][-1].items() if key != "optimizer"}
    kept = {key: value for key, value in state.items() if key != "last_optimizer_state"}
    return {**kept, "optimizer_history": [history]}


def without_training_state(state: State) -> State:
    """:func:`without_optimizer`, and without what only training reads of "extra_state"."""
    extra_state = {key: value for key, value in state["extra_state"].items() if key in _KEPT_EXTRA_STATE}
    return {**without_optimizer(state), "extra_state": extra_state}


def memory_of(tensor: torch.Tensor) -> Hashable:
    """A key that two tensors have in common exactly when they are the same view of the same memory."""
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def tie(model: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dictionary in which matrices of equal content share memory.

    What fairseq trains on a GPU it saves with a copy of a tied matrix under each of its names. Matrices that
    are all zero tell nothing, and stay as they are.
    """
    tied, known = dict(model), dict[Hashable, list[torch.Tensor]]()
    for name, tensor in model.items():
        if tensor.dim() < 2 or not tensor.numel() or not tensor.is_floating_point() or is_buffer(name):
            continue
        # Ends first: of a large file, few pages are read.
        ends = tensor[(0,) * tensor.dim()].item(), tensor[(-1,) * tensor.dim()].item()
        others = known.setdefault((tensor.shape, tensor.dtype, ends), [])
        equal = (other for other in others if torch.equal(other, tensor) and tensor.any())
        if (other := next(equal, None)) is None:
            others.append(tensor)
        else:
            tied[name] = other
    return tied


def write_checkpoint(state: State, path: StrPath) -> None:
    """Writes *state* to *path* in the format of ``torch.save``, complete or not at all.

    Raises:
        IkdError: the disk is full, or cannot be written to.
    """
    with write_atomically(path) as stream:
        try:
            save(state, stream)
        except RuntimeError as error:
            raise IkdError(f"{path} cannot be written ({str(error).splitlines()[0]})") from error


def is_buffer(name: str) -> bool:
    """Whether the entry *name* of a state dictionary is no parameter."""
    return bool(_BUFFERS.search(name))


def parameters_of(state: State, left_out: Sequence[str] = ()) -> list[torch.Tensor]:
    """The parameters in a checkpoint, tied ones once; without those whose names begin as *left_out* says."""
    parameters = {
        memory_of(tensor): tensor
        for name, tensor in state["model"].items()
        if tensor.is_floating_point() and not is_buffer(name) and not name.startswith(tuple(left_out))
    }
    return list(parameters.values())


def size_in_megabytes(paths: Sequence[StrPath]) -> float:
    """The size of all *paths* together, in units of 10^6 bytes."""
    return sum(os.path.getsize(path) for path in paths) / 1e6


def select_checkpoints(
    folder: StrPath, by: str, count: int, upto: int | None = None, or_fewer: bool = False
) -> list[Path]:
    """The *count* last or best checkpoints that fairseq saved in *folder*.

    Args:
        by: "epochs", "updates" (saved within an epoch) or "best" (of ``--keep-best-checkpoints``).
        upto: ignore later epochs, or updates, than this one.
        or_fewer: take what there is, at least one, where there are not *count*.

    Returns:
        The files from the highest epoch, update or metric value to the lowest (for "best": best first).

    Raises:
        IkdError: the folder holds fewer, or best checkpoints of several metrics.
    """
    naming = NAMINGS[by]
    names = sorted(os.listdir(folder))
    matches = [match for name in names if (match := re.fullmatch(naming.pattern, name))]
    highest_first = True
    if by == "best" and matches:
        metrics = sorted({match["metric"] for match in matches})
        several = f"{folder} holds the best checkpoints by several metrics ({', '.join(metrics)})"
        check(len(metrics) == 1, f"{several}; name the files to average instead")
        settings = config_section(load_checkpoint(Path(folder, matches[0].string)), "checkpoint")
        highest_first = bool(settings.get("maximize_best_checkpoint_metric", False))
    if upto is not None:
        matches = [match for match in matches if float(match["order"]) <= upto]
    bound = "" if upto is None else f" up to {upto}"
    found = f"{folder} holds {len(matches)} checkpoints named {naming.example}{bound}"
    remedy = f"ask for fewer, or keep more in training ({naming.option})"
    check(bool(matches) or not or_fewer, f"{found}: training ended before the first; plan more updates")
    check(or_fewer or len(matches) >= count, f"{found}, but --last asks for {count}; {remedy}")
    matches.sort(key=lambda match: float(match["order"]), reverse=highest_first)
    return [Path(folder, match.string) for match in matches[:count]]


def map_models(
    models: Sequence[dict[str, torch.Tensor]],
    change: Callable[[str, list[torch.Tensor]], torch.Tensor],
    title: str,
) -> dict[str, torch.Tensor]:
    """What *change* makes of every name and its tensors in several state dictionaries with the same keys.

    Entries that share memory in all of them (tied embeddings) share it in the result.
    """
    changed: dict[str, torch.Tensor] = {}
    done: dict[Hashable, torch.Tensor] = {}
    for key in progress(models[0], desc=title, unit="tensor"):
        tensors = [model[key] for model in models]
        memory = tuple(map(memory_of, tensors))
        if memory not in done:
            done[memory] = change(key, tensors)
        changed[key] = done[memory]
    return changed


def average_models(models: Sequence[dict[str, torch.Tensor]], newest: int) -> dict[str, torch.Tensor]:
    """The mean of several state dictionaries with the same keys and shapes, on the CPU, entry by entry.

    Args:
        newest: index of the one whose integer entries (counters) and dtypes are taken.

    Returns:
        New tensors, tied as those of the inputs. Sums run in float64 whatever the stored dtype.
    """

    def mean(_: str, tensors: list[torch.Tensor]) -> torch.Tensor:
        if not tensors[newest].is_floating_point():
            return tensors[newest].clone()
        total = torch.zeros(tensors[newest].shape, dtype=torch.float64)
        for tensor in tensors:
            total += tensor
        return (total / len(tensors)).to(tensors[newest].dtype)

    return map_models(models, mean, "average")


def _check_same_parameters(paths: Sequence[StrPath], states: Sequence[State]) -> None:
    model = states[0]["model"]
    for path, state in zip(paths, states):
        other, different = state["model"], f"{paths[0]} and {path} are of different models: "
        for key in {**model, **other}:
            check(key in other, f"{different}{key} is in the first alone")
            check(key in model, f"{different}{key} is in the second alone")
            one, two = model[key], other[key]
            shapes = f"{tuple(one.shape)} and {tuple(two.shape)}"
            check(one.shape == two.shape, f"{different}{key} has shape {shapes}")
            same_kind = one.is_floating_point() == two.is_floating_point()
            check(same_kind, f"{different}{key} is of type {one.dtype} and {two.dtype}")


def average_checkpoints(paths: Sequence[StrPath], output: StrPath) -> None:
    """Writes the mean of the checkpoints *paths* to *output*, which loads wherever one of them would.

    Settings, counters and the rest come from the one with the most updates; optimizer state is left out; the
    files averaged are listed in ``extra_state["averaged_checkpoints"]``.

    Raises:
        IkdError: a file cannot be used, its weights are not finite, the models differ, or the output cannot
            be written.
    """
    check_output(output, paths)
    with claim(output):
        _average(paths, output)


def _average(paths: Sequence[StrPath], output: StrPath) -> None:
    real_paths = [os.path.realpath(path) for path in paths]
    for path, real in zip(paths, real_paths):
        check(real_paths.count(real) == 1, f"{path} is given twice; name each checkpoint once")
    states = [load_checkpoint(path) for path in paths]
    for path, state in zip(progress(paths, desc="read", unit="file"), states):
        check_weights(state, path)
    _check_same_parameters(paths, states)
    newest = max(range(len(states)), key=lambda place: num_updates(states[place]))

    averaged = without_optimizer(states[newest])
    averaged["model"] = average_models([state["model"] for state in states], newest)
    kept = {name: value for name, value in averaged["extra_state"].items() if name not in _NOT_OF_THE_MEAN}
    origin = [{"file": str(path), "num_updates": num_updates(state)} for path, state in zip(paths, states)]
    averaged["extra_state"] = {**kept, "averaged_checkpoints": origin}
    write_checkpoint(averaged, output)
    size, sizes = size_in_megabytes([output]), size_in_megabytes(paths)
    logger.info("wrote %s (%.1f MB), the mean of %d checkpoints (%.1f MB)", output, size, len(paths), sizes)
