"""``ikd-average-checkpoints``: the mean of the parameters of several checkpoints of one training run.

The usual protocol on Multi30K averages the last ten epoch checkpoints (Wu et al. 2021). fairseq's own script
for this is not part of its package on PyPI.
"""

import argparse
import logging
import os
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import check, command
from ..io.checkpoints import (
    State,
    check_output,
    config_section,
    load_checkpoint,
    memory_of,
    num_updates,
    size_in_megabytes,
    without_optimizer,
    write_checkpoint,
)
from ..io.progress import progress, set_up_logging
from .arguments import positive_int

logger = logging.getLogger(__name__)

DEFAULT_LAST = 10

# What each choice of --by looks for in a folder; the group "order" ranks the files.
_PATTERNS = {
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
    matches = [match for match in map(_PATTERNS[by].fullmatch, sorted(os.listdir(folder))) if match]
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


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-average-checkpoints",
        description="Averages the parameters of several fairseq checkpoints of one training run into one "
        "checkpoint for fairseq-generate. Optimizer state is left out.",
        epilog="example: ikd-average-checkpoints --last 10 --output run/average.pt run",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FOLDER|FILE",
        help="a folder of checkpoints (fairseq's --save-dir), or the checkpoints themselves",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="checkpoint to write; replaced when complete if it exists",
    )
    parser.add_argument(
        "--last",
        type=positive_int,
        metavar="N",
        help=f"with a folder: how many checkpoints to average (default: {DEFAULT_LAST})",
    )
    parser.add_argument(
        "--by",
        choices=sorted(_PATTERNS),
        help="with a folder: the last epochs (checkpointN.pt, the default), the last updates "
        "(checkpoint_EPOCH_UPDATE.pt) or the best by the metric of the training run "
        "(checkpoint.best_METRIC_VALUE.pt)",
    )
    parser.add_argument(
        "--upto",
        type=positive_int,
        metavar="N",
        help="with a folder: ignore checkpoints of a later epoch, or update, than this one",
    )
    return parser


def _inputs(args: argparse.Namespace) -> list[Any]:
    folders = [path for path in args.inputs if os.path.isdir(path)]
    if not folders:
        for name in ("last", "by", "upto"):
            check(
                getattr(args, name) is None,
                f"--{name} selects from a folder, but {args.inputs[0]} is not a folder",
            )
        return args.inputs
    check(len(args.inputs) == 1, f"give one folder or several files, not {folders[0]} beside others")
    by = args.by or "epochs"
    check(args.upto is None or by != "best", "--upto bounds epochs or updates; leave it out with --by best")
    return select_checkpoints(folders[0], by, args.last or DEFAULT_LAST, args.upto)


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    set_up_logging()
    average_checkpoints(_inputs(args), args.output)
