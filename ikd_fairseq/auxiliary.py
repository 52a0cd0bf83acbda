"""What a model and the criterion ``auxiliary_losses`` agree on: terms of the loss beside translation's own.

A model with such terms names them, with their weights, in ``auxiliary_weights``. Called with
``auxiliary=True`` it returns one of the types below for each name, in ``extra["auxiliary"]``.
"""

from typing import NamedTuple, Union

from torch import Tensor


class Term(NamedTuple):
    """A sum that the criterion divides by the number of what was summed, over all workers.

    Where there is nothing to sum, ``total`` is a zero that depends on the parameters that the term trains:
    they get gradients of zero instead of none, which distributed training needs.

    Attributes:
        total: float32 scalar.
        count: number of images, or of tokens, that it sums over.
    """

    total: Tensor
    count: int | Tensor


class Prediction(NamedTuple):
    """Another prediction of the target. The criterion makes a :class:`Term` of it: its translation loss.

    Attributes:
        logits: ``K x J x V``.
        positions: int64 ``K``, the sentences of the batch that it is for.
    """

    logits: Tensor
    positions: Tensor


class TokenValues(NamedTuple):
    """A value for every target position. The criterion makes a :class:`Term` of it: the sum without padding.

    Attributes:
        values: float32 ``K x J``.
        positions: int64 ``K``, the sentences of the batch that they belong to.
    """

    values: Tensor
    positions: Tensor


Entry = Union[Term, Prediction, TokenValues]
