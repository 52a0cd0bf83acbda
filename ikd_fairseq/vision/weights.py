"""Weights for an image CNN: the published ones, those of a file, or random ones.

A CNN is always built and filled without touching the global random state, so that a run with one draws
the same random numbers as a run without, and a resumed run the same as one that was never interrupted.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import check
from ..torch_files import load_safely
from .backbones import Backbone

logger = logging.getLogger(__name__)

IMAGENET = "imagenet"
RANDOM = "random"

RANDOM_SEED = 20220722  # fixed, so that all workers and a resumed run get the same random CNN


def load_weights(backbone: Backbone, source: str) -> nn.Module:
    """Builds the CNN of *backbone* on the CPU and fills it.

    Args:
        backbone: entry of :data:`~ikd_fairseq.vision.backbones.BACKBONES`.
        source: ``imagenet`` (the published weights), ``random`` (always the same), or the path of a state
            dict of this architecture as ``torch.save`` writes it, also under a key ``state_dict`` or with the
            prefix ``module.``. The classifier head may be missing or have another size.

    Raises:
        IkdError: weights that cannot be had, read or used.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        cnn = backbone.build()
    if source == RANDOM:
        logger.info("CNN %s with random weights", backbone.name)
        return cnn
    state = backbone.imagenet(cnn) if source == IMAGENET else _read_state_dict(source)
    _fill(cnn, state, backbone, source)
    logger.info("CNN %s with weights from %s", backbone.name, source)
    return cnn


def _read_state_dict(path: str) -> dict[str, Tensor]:
    check(
        os.path.exists(path),
        f"CNN weights {path}: no such file; give {IMAGENET}, {RANDOM} or a file that exists",
    )
    content = load_safely(path, "CNN weights")
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    check(
        isinstance(content, Mapping) and len(content) > 0 and all(map(_is_entry, content.items())),
        f"CNN weights {path}: holds no state dict (names and tensors) but {_describe(content)}",
    )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _fill(cnn: nn.Module, state: dict[str, Tensor], backbone: Backbone, source: str) -> None:
    """Copies *state* into *cnn*, all but the classifier head, or says in one sentence why it does not fit."""
    head = tuple(name + "." for name in backbone.head)
    expected = {name: t for name, t in cnn.state_dict().items() if not name.startswith(head)}
    given = {name: t for name, t in state.items() if not name.startswith(head)}

    # Checkpoints older than PyTorch 0.4.1 lack the counters, which a frozen CNN does not use.
    problems = {
        "are missing": [n for n in expected if n not in given and not n.endswith("num_batches_tracked")],
        "are unknown": [n for n in given if n not in expected],
        "differ in shape": [n for n in expected if n in given and given[n].shape != expected[n].shape],
    }
    found = [
        f"{len(names)} of its tensors {what}, {names[0]} first" for what, names in problems.items() if names
    ]
    check(not found, f"CNN weights {source}: not the weights of {backbone.name}: {'; '.join(found)}")
    cnn.load_state_dict(given, strict=False)


def _is_entry(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"
