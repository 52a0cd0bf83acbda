"""Values that a model computes in its forward pass, in the log of training and validation with any criterion.

A model puts them in its second output: ``extra[LOGGED]``, a :class:`~ikd_fairseq.contracts.Term` by name;
what is logged under *name* is the mean over all batches and workers. It must give the same names for every
batch, with a count of 0 where it has nothing to count: workers add their values up name by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..constants import LOGGED
from ..criterions.translation_criterion import log_mean

_SUM, _COUNT = "logged_sum_", "logged_count_"


@contextmanager
def logged_values_of(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Collects what *model* (or what a wrapper of it returns) gives to the log while the context lasts.

    Yields:
        Entries for a logging output, those of the last forward pass; empty for a model that logs nothing.
    """
    found: dict[str, Any] = {}

    def keep(module, inputs, output) -> None:
        extra = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(extra, dict):
            for name, (total, count) in extra.get(LOGGED, {}).items():
                found[_SUM + name], found[_COUNT + name] = total, count

    hook = model.register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def log_values(logging_outputs: list[dict[str, Any]]) -> None:
    """Logs the mean of each value that :func:`logged_values_of` put into *logging_outputs*, one update's."""
    for key in dict.fromkeys(key for log in logging_outputs for key in log if key.startswith(_SUM)):
        name = key[len(_SUM) :]
        log_mean(name, logging_outputs, key, _COUNT + name)
