"""Training that diverges ends at once, in one sentence with the update, the term and its value."""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from fairseq import trainer

from ..errors import IkdError

_REMEDY = (
    "train with a lower --lr, a longer --warmup-updates or smaller weights of the terms; a "
    "checkpoint_last.pt in --save-dir is of before, and training goes on from it"
)


def check_finite(update: int, logged: Mapping[str, Any]) -> None:
    """Refuses to go on with a loss, or a term of it, that is not finite.

    Args:
        update: how many updates are done.
        logged: what the criterion logs of the batch.

    Raises:
        IkdError: a value is infinite or not a number.
    """
    GradientsNotFinite.update = update + 1
    for name, value in logged.items():
        number = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
        if isinstance(number, float) and not math.isfinite(number):
            raise IkdError(f"training has diverged in update {update + 1}: {name} is {number}; {_REMEDY}")


class GradientsNotFinite:
    """Stands for fairseq's ``NanDetector``, which dies in its own hooks where gradients are not finite."""

    update = 0

    def __init__(self, *_: Any, **__: Any): ...

    def __enter__(self) -> NoReturn:
        raise IkdError(
            f"training has diverged in update {self.update}: its gradients are not finite; {_REMEDY}"
        )

    def __exit__(self, *error: Any) -> None: ...


trainer.NanDetector = GradientsNotFinite
