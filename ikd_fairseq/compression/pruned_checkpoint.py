"""Checkpoints whose smallest weights are zero: pruning, packing and counting.

What is pruned, and how retraining keeps it, is described in :mod:`.pruning`.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ..checkpoint_weights import check_weights
from ..contracts import contract_of_architecture
from ..errors import check, naming
from ..io.atomic import check_output
from ..io.checkpoints import (
    architecture_of,
    is_buffer,
    load_checkpoint,
    without_training_state,
    write_checkpoint,
)
from ..io.locks import claim
from .pruning import (
    MASK_SUFFIX,
    PACKED_SUFFIXES,
    is_prunable,
    pack_weights,
    prunable_groups,
    prune_weights,
    unpack_weights,
)

logger = logging.getLogger(__name__)

# From a state dictionary, and how the names of parts for training alone begin, to a new one.
Change = Callable[[dict[str, Tensor], tuple[str, ...]], dict[str, Tensor]]

# Kinds of weight matrices in the report, by a part of their names.
_KINDS = {
    "embedding": ("embed_tokens", "embed_positions", "output_projection"),
    "attention": ("self_attn", "encoder_attn"),
    "feed-forward": ("fc1", "fc2"),
    "visual": ("generator", "region_projection"),
}


class Count(NamedTuple):
    """Parameters of one kind."""

    kind: str
    parameters: int
    kept: int

    @property
    def sparsity(self) -> float:
        """The share that is pruned."""
        return 1 - self.kept / self.parameters


class Report(NamedTuple):
    """What pruning made of a model: shared parameters count once, and parts for training alone not at all."""

    kinds: list[Count]  # of the prunable parameters
    prunable: Count
    all: Count
    dense_bytes: int  # of all parameters and buffers, without masks
    packed_bytes: int  # of the same, packed: a bit a prunable parameter, and the values that are kept


def report(model: dict[str, Tensor], left_out: tuple[str, ...] = ()) -> Report:
    """Counts the parameters of a pruned state dictionary, packed or not.

    Args:
        left_out: how the names of the parts begin that do not count.

    Raises:
        IkdError: it has no masks.
    """
    model = {name: value for name, value in model.items() if not name.startswith(left_out)}
    unpack_weights(model)
    packed = pack_weights(model)
    counts = {kind: [0, 0] for kind in (*_KINDS, "other")}
    dense_bytes = packed_bytes = rest = 0
    for name, *_ in prunable_groups(model):
        kind = next((kind for kind, parts in _KINDS.items() if any(part in name for part in parts)), "other")
        counts[kind][0] += model[name].numel()
        counts[kind][1] += int(model[name + MASK_SUFFIX].sum())
        dense_bytes += model[name].nbytes
        packed_bytes += sum(packed[name + suffix].nbytes for suffix in PACKED_SUFFIXES)
    kinds = [Count(kind, *count) for kind, count in counts.items() if count[0]]
    prunable = Count("prunable", sum(count.parameters for count in kinds), sum(count.kept for count in kinds))
    for name, value in model.items():
        if not is_prunable(name, value) and not name.endswith(MASK_SUFFIX):
            dense_bytes, packed_bytes = dense_bytes + value.nbytes, packed_bytes + value.nbytes
            rest += 0 if is_buffer(name) else value.numel()
    everything = Count("all", prunable.parameters + rest, prunable.kept + rest)
    return Report(kinds, prunable, everything, dense_bytes, packed_bytes)


def _rewrite(checkpoint: os.PathLike, output: os.PathLike, change: Change, **facts: Any) -> Report:
    """Writes *checkpoint* to *output* without optimizer state, its unpacked weights as *change* leaves them.

    Refuses models that know no masks. *facts* are what "extra_state" tells of the change.
    """
    check_output(output, [checkpoint])
    with claim(output), naming(str(checkpoint)):
        state = without_training_state(load_checkpoint(checkpoint))
        check_weights(state, checkpoint)
        name = architecture_of(state)
        architecture = contract_of_architecture(name)
        foreign = f"{checkpoint} is of the architecture {name or 'unnamed'}, which would not load a mask"
        remedy = "prune one of the plugin's models (fairseq's transformer is here --arch transformer_mmt)"
        check(architecture is not None, f"{foreign}: {remedy}")
        model = dict(state["model"])
        unpack_weights(model)
        for part in architecture.training_only:
            if any(key.startswith(part) for key in model):
                warning = "%s holds the %s network, which is not pruned and which decoding does not need"
                remedy = "to leave it out, run ikd-export before"
                logger.warning(f"{warning}: {remedy}", checkpoint, part.removesuffix("."))
        state["model"] = change(model, architecture.training_only)
        state["extra_state"].update(facts)
        summary = report(state["model"], architecture.training_only)
        write_checkpoint(state, output)
        return summary


def prune_checkpoint(checkpoint: os.PathLike, output: os.PathLike, sparsity: float) -> Report:
    """Writes *checkpoint* to *output* with its smallest weights at zero, their masks, and no optimizer state.

    Args:
        sparsity: share of the prunable weights that is zero in *output*, above 0 and below 1. A pruned
            checkpoint can be pruned further.

    Raises:
        IkdError: the checkpoint cannot be used, is pruned as far already, or the output cannot be written.
    """
    check(0 < sparsity < 1, f"--sparsity {sparsity:g}: give a share above 0 and below 1, such as 0.8")

    def prune(model: dict[str, Tensor], left_out: tuple[str, ...]) -> dict[str, Tensor]:
        pruned = prune_weights(model, sparsity, left_out)
        for name, mask in pruned.items():
            if name.endswith(MASK_SUFFIX) and not mask.any():
                weight = name.removesuffix(MASK_SUFFIX)
                logger.warning("nothing is left of %s: its weights were the smallest", weight)
        return pruned

    return _rewrite(checkpoint, output, prune, pruned={"file": str(checkpoint), "sparsity": sparsity})


def pack_checkpoint(checkpoint: os.PathLike, output: os.PathLike) -> Report:
    """Writes the pruned *checkpoint* to *output* with a bit a prunable weight and the values that are kept.

    The plugin's models load the output as they load the checkpoint. There is no optimizer state in it.

    Raises:
        IkdError: the checkpoint cannot be used or is not pruned, or the output cannot be written.
    """
    return _rewrite(checkpoint, output, pack_weights)


def unpack_checkpoint(checkpoint: os.PathLike, output: os.PathLike) -> Report:
    """Writes the packed *checkpoint* to *output* with the weights and masks that were packed, bit by bit.

    Raises as :func:`pack_checkpoint` does.
    """
    return _rewrite(checkpoint, output, lambda model, _: model)
