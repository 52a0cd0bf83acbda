"""The second of two stages: training begins with the weights of another model, as far as they fit."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..checkpoint_settings import check_settings
from ..checkpoint_weights import check_weights
from ..compression.pruning import unpacked
from ..errors import check
from ..io.checkpoints import load_checkpoint

logger = logging.getLogger(__name__)

_ROWS = ("taken", "of another shape", "left", "missing")


def take_weights(model: nn.Module, path: str) -> Mapping[str, Any]:
    """Copies every tensor of the checkpoint *path* that *model* has by name and shape, and logs a table.

    A checkpoint of any architecture will do: averaged, exported, pruned (its zeros are taken, not its mask),
    of a model with fewer parts (text, then IKD) or with others.

    Returns:
        The state of the task in the checkpoint.

    Raises:
        IkdError: it cannot be used, or not one matrix of it fits.
    """
    state = load_checkpoint(path)
    check_settings(state, path)
    check_weights(state, path)
    theirs, ours = unpacked(state["model"]), model.state_dict()
    fitting = {
        name: value for name, value in theirs.items() if name in ours and value.shape == ours[name].shape
    }
    check(
        any(value.dim() > 1 for value in fitting.values()),
        f"--init-from {path}: not one of its {len(theirs)} tensors fits this model by name and shape: give a "
        "checkpoint of the same width and dictionaries",
    )
    nn.Module.load_state_dict(model, fitting, strict=False)
    logger.info("--init-from %s\n%s", path, table(theirs, ours))
    found = state.get("task_state")
    return found if isinstance(found, dict) else {}


def table(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> str:
    """Which tensors are taken, left or missing, by part of the model; a line for each of another shape.

    Args:
        theirs: the checkpoint's, by name. What fits is taken, what this model lacks is left.
        ours: this model's. What the checkpoint lacks is missing: it stays as initialised.
    """
    counts: dict[str, Counter[str]] = {}
    shapes = []
    for name in {**ours, **theirs}:
        if name not in theirs:
            kind = "missing"
        elif name not in ours:
            kind = "left"
        elif theirs[name].shape == ours[name].shape:
            kind = "taken"
        else:
            kind = "of another shape"
            shapes.append(f"{name}: {tuple(theirs[name].shape)} there, {tuple(ours[name].shape)} here")
        counts.setdefault(".".join(name.split(".")[:2]), Counter())[kind] += 1
    counts["all"] = sum(counts.values(), Counter())
    width = max(map(len, counts))
    lines = [" ".join(["part".ljust(width), *(kind.rjust(len(kind) + 2) for kind in _ROWS)])]
    for part, numbers in counts.items():
        lines.append(
            " ".join([part.ljust(width), *(str(numbers[kind] or "-").rjust(len(kind) + 2) for kind in _ROWS)])
        )
    return "\n".join([*lines, *shapes])
