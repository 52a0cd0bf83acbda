"""Training that diverges ends at once, in one sentence with the update, the term and its value."""

import contextlib
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from fairseq import trainer

from ..checkpoint_weights import check_weights
from ..errors import IkdError, check
from ..torch_files import load_safely


class Divergence:
    """What a refusal to go on says beside the cause.

    Attributes:
        update: the update under way, counted from 1; the task sets it.
        folder: where checkpoints of this training are saved, once the trainer has looked there.
    """

    update = 0
    folder: str | None = None

    @classmethod
    def refuse(cls, cause: str) -> NoReturn:
        """Raises :class:`IkdError` with *cause*, the update and the last checkpoint that is of use."""
        good = last_good_checkpoint(cls.folder) if cls.folder else None
        raise IkdError(
            f"training has diverged in update {cls.update}: {cause}; train with a lower --lr, a longer "
            "--warmup-updates or smaller weights of the terms, "
            + (
                f"from {good}, the last good checkpoint"
                if good
                else "from the start: there is no checkpoint yet"
            )
        )


def last_good_checkpoint(folder: str | os.PathLike) -> Path | None:
    """The file ``checkpoint*.pt`` in *folder* that was written last of those whose weights are all finite."""
    files = [path for path in Path(folder).glob("checkpoint*.pt") if path.is_file()]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        with contextlib.suppress(IkdError, LookupError, AttributeError, TypeError):
            check_weights(load_safely(path), path)
            return path  # the others are damaged, none of fairseq's, or of a training that had diverged
    return None


def check_finite(logged: Mapping[str, Any]) -> None:
    """Refuses to go on with a loss, or a term of it, that is not finite.

    A GPU is waited for once, whatever the number of values.

    Args:
        logged: what the criterion logs of the batch.

    Raises:
        IkdError: a value is infinite or not a number.
    """
    scalars = {name: value for name, value in logged.items() if isinstance(value, torch.Tensor)}
    scalars = {
        name: value.detach()
        for name, value in scalars.items()
        if value.numel() == 1 and value.is_floating_point()
    }
    numbers = {name: value for name, value in logged.items() if isinstance(value, float)}
    if scalars:
        device = next(iter(scalars.values())).device
        values = torch.stack([value.to(device, torch.float64).reshape(()) for value in scalars.values()])
        numbers |= dict(zip(scalars, values.tolist()))
    for name in logged:
        if not math.isfinite(numbers.get(name, 0.0)):
            Divergence.refuse(f"{name} is {numbers[name]}")


class GradientsNotFinite:
    """Stands for fairseq's ``NanDetector``, which dies in its own hooks where gradients are not finite.

    fairseq enters it as well where the workers' gradients differ in size, which is no divergence.
    """

    def __init__(self, *_: Any, **__: Any): ...

    def __enter__(self) -> NoReturn:
        check(
            "inconsistent between workers" not in str(sys.exc_info()[1]),
            f"update {Divergence.update}: the workers' gradients differ, as where a parameter gets none, or "
            "GPUs are of different kinds: give --ddp-backend legacy_ddp, or GPUs of one kind",
        )
        Divergence.refuse("its gradients are not finite")

    def __exit__(self, *error: Any) -> None: ...


trainer.NanDetector = GradientsNotFinite
