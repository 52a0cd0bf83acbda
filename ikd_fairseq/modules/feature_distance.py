"""Distances between two maps or images, one value an image (Peng et al. 2022, Table 2, rows A).

Every distance takes two float tensors ``K x C x H x W`` (but for ``kl``, axes behind K may be others) and
returns ``K`` values that do not grow with the size of the map, so that one weight serves maps and images of
all sizes.

The paper names neither an axis nor a direction. The released code divides norms by the number of a batch's
values, takes the cosine along the batch and adds it to the loss, so that similarity is driven down, and the
divergence of the student from the teacher along a map's width. The published rows ``cosine`` and ``kl`` are
of these, and ours are other losses.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

# Below this mean square the square root's slope would be larger than float32 holds; its gradient is zero
# there.
SMALLEST_MEAN_SQUARE = 1e-12


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean square difference: the L2 norm, free of the map's size."""
    return (a - b).square().flatten(1).mean(dim=1).clamp(min=SMALLEST_MEAN_SQUARE).sqrt()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (a - b).abs().flatten(1).mean(dim=1)


def linf(a: Tensor, b: Tensor) -> Tensor:
    """Largest absolute difference."""
    return (a - b).abs().flatten(1).amax(dim=1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """One minus the cosine of the flattened maps."""
    return 1 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


def divergence(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Kullback-Leibler divergence of softmax *b* from softmax *a*, in nats: their shape less axis *dim*."""
    log_a, log_b = F.log_softmax(a, dim=dim), F.log_softmax(b, dim=dim)
    return (log_a.exp() * (log_a - log_b)).sum(dim=dim)


def kl(a: Tensor, b: Tensor) -> Tensor:
    """:func:`divergence` over channels, mean over positions."""
    return divergence(a, b, dim=1).flatten(1).mean(dim=1)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "l2": l2,
    "linf": linf,
    "cosine": cosine,
    "kl": kl,
}


def distance(name: str, a: Tensor, b: Tensor) -> Tensor:
    """Distance *name* of two batches of maps, in float32 whatever their type. Returns ``K`` values."""
    return DISTANCES[name](a.float(), b.float())
