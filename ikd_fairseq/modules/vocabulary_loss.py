"""The loss over the vocabulary, for some hundred target positions at a time.

fairseq keeps logits, log-probabilities and their gradients of a whole batch, each a tensor of tokens x types:
most of the memory of a small Transformer's update, and half of its time. Here they exist for one block of
positions, in memory that every block uses again. What the loss leads back, the gradients of the decoder's
output and of the output matrix, is summed up at once, so that the way back has nothing left to do.

Not used instead: PyTorch's chunked ``linear_cross_entropy``, which knows no label smoothing, and Liger's
kernels, which run on GPUs alone. Neither holds two passes against each other, or learns from a teacher.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Positions at a time: on a processor so few that logits and gradient of a block stay in its cache; on a GPU,
# which wants more work, so many that the logits take a quarter of a gigabyte.
ROWS, LOGITS_ON_GPU = 256, 2**26


class Objective(Protocol):
    """What is summed over positions.

    Attributes:
        names: of the sums. The first is the loss, which is minimised.
    """

    names: tuple[str, ...]

    def __call__(self, logits: Tensor, rows: slice) -> tuple[list[Tensor], Tensor]:
        """
        Args:
            logits: float32 ``M x n x V``, of M passes over the positions *rows*. May be overwritten.
            rows: which of the N positions they are.

        Returns:
            A scalar by name, and the loss's gradient for the logits, ``M x n x V``.
        """


class SmoothedLikelihood:
    """fairseq's label-smoothed cross-entropy: ``(1 - e - e/(V-1)) nll - e/(V-1) * sum of log p``.

    Sums: ``loss`` and ``nll_loss``, each the mean over the passes, and if asked for ``n_correct``, at how
    many positions the first pass likes the target best.

    Args:
        target: int64 ``N``.
        epsilon: e, how much of the target's probability all other words share.
        counts_correct: whether to count them.
    """

    def __init__(self, target: Tensor, epsilon: float, counts_correct: bool = False):
        self.target, self.epsilon, self.counts_correct = target, epsilon, counts_correct
        self.names = ("loss", "nll_loss", *(["n_correct"] if counts_correct else []))

    def __call__(self, logits: Tensor, rows: slice) -> tuple[list[Tensor], Tensor]:
        passes, _, types = logits.shape
        spread = self.epsilon / (types - 1)
        rest = 1 - self.epsilon - spread
        target = self.target[rows].expand(passes, -1).unsqueeze(-1)  # M x n x 1
        correct = [logits[0].argmax(-1).eq(self.target[rows]).sum().to(logits)] if self.counts_correct else []
        at_target, largest = logits.gather(-1, target), logits.amax(-1, keepdim=True)
        total = logits.sum(-1, keepdim=True) if self.epsilon else 0
        # In place where that is known to be safe.
        probs = torch.softmax(logits, -1, out=logits if logits.device.type == "cpu" else None)
        log_sum = largest - probs.amax(-1, keepdim=True).log()
        nll = log_sum - at_target
        loss = rest * nll
        if self.epsilon:
            loss = loss + spread * (types * log_sum - total)
            probs -= spread
        probs.scatter_add_(-1, target, probs.new_full((), -rest).expand(target.shape))
        if passes > 1:
            probs /= passes
        return [loss.sum() / passes, nll.sum() / passes, *correct], probs


class Agreement:
    """An objective of two passes, and how far they are from agreeing (R-Drop; Liang et al. 2021, section 2).

    The paper minimises ``nll_1 + nll_2 + weight * d`` with ``d = (KL(p_1 | p_2) + KL(p_2 | p_1)) / 2``. Here
    it is half of that, so that the loss compares with one of a single pass. Adds the sum ``consistency``: d.

    Args:
        objective: the mean over the passes, such as :class:`SmoothedLikelihood`.
        weight: alpha of the paper.
    """

    def __init__(self, objective: Objective, weight: float):
        self.objective, self.weight = objective, weight
        self.names = (*objective.names, "consistency")

    def __call__(self, logits: Tensor, rows: slice) -> tuple[list[Tensor], Tensor]:
        # With z the logits, KL(p_1 | p_2) = p_1 . (z_1 - z_2) - c and KL(p_2 | p_1) = c - p_2 . (z_1 - z_2):
        # the normalisers, c, cancel in the distance and in its gradient.
        apart, probs = logits[0] - logits[1], torch.softmax(logits, -1)
        (loss, *others), gradient = self.objective(logits, rows)
        first, second = torch.einsum("mnv,nv->mn", probs, apart).unsqueeze(-1)
        for own, p, other, factor in (
            (gradient[0], probs[0], probs[1], apart + (1 - first)),
            (gradient[1], probs[1], probs[0], (1 + second) - apart),
        ):
            own.addcmul_(p, factor, value=self.weight / 4).sub_(other, alpha=self.weight / 4)
        distance = (first - second).sum() / 2
        return [loss + self.weight / 2 * distance, *others, distance], gradient


def vocabulary_loss(
    features: Tensor, weight: Tensor | None, objective: Objective, rows: int | None = None
) -> dict[str, Tensor]:
    """The sums of *objective* over N positions; gradients of the first reach *features* and *weight*.

    In half precision, or under autocast, the matrix products are of that type; the softmax and all sums are
    float32. Where no gradient is wanted, none is computed.

    Args:
        features: ``M x N x d``, the decoder's output at the positions, in M passes. N may be 0.
        weight: ``V x d``, what makes logits of it, tied to the embeddings or not; None if *features* are the
            logits, ``M x N x V``, themselves.
        rows: positions at a time; by default what suits the device.

    Returns:
        A float32 scalar by name.
    """
    device = features.device.type
    if weight is not None and torch.is_autocast_enabled(device):
        low = torch.get_autocast_dtype(device)
        features, weight = features.to(low), weight.to(low)
    if rows is None:
        types = features.size(-1) if weight is None else len(weight)
        rows = max(1, (ROWS if device == "cpu" else LOGITS_ON_GPU // types) // len(features))
    with torch.autocast(device, enabled=False):
        loss, others = _InBlocks.apply(features, weight, objective, rows, torch.is_grad_enabled())
    return dict(zip(objective.names, [loss, *others]))


class _InBlocks(torch.autograd.Function):
    """Forward and backward in one pass over the blocks."""

    @staticmethod
    def forward(ctx, features, weight, objective, size, learns):
        passes, positions, width = features.shape
        exact = torch.promote_types(features.dtype, torch.float32)
        types = width if weight is None else len(weight)
        to_features = torch.empty_like(features) if learns and ctx.needs_input_grad[0] else None
        to_weight = torch.zeros_like(weight, dtype=exact) if learns and ctx.needs_input_grad[1] else None
        memory = None if weight is None else features.new_empty(min(size, positions) * passes, types)
        sums = None
        for start in range(0, max(positions, 1), size):  # an empty block tells the sums of nothing
            rows = slice(start, start + size)
            block = features[:, rows].reshape(-1, width)
            if weight is None:
                logits = block.to(exact, copy=True)
            else:
                logits = torch.mm(block, weight.T, out=memory[: len(block)]).to(exact)
            values, gradient = objective(logits.view(passes, -1, types), rows)
            sums = [total + value for total, value in zip(sums, values)] if sums else values
            gradient = gradient.view(-1, types).to(features.dtype)
            if to_features is not None:
                back = gradient if weight is None else gradient @ weight
                to_features[:, rows] = back.view(passes, -1, width)
            if to_weight is not None and exact == features.dtype:
                to_weight.addmm_(gradient.T, block)
            elif to_weight is not None:
                to_weight += gradient.T @ block
        ctx.save_for_backward(to_features, to_weight)
        ctx.weight_dtype = None if weight is None else weight.dtype
        loss, others = sums[0], torch.stack(sums[1:])
        ctx.mark_non_differentiable(others)
        return loss, others

    @staticmethod
    @once_differentiable
    def backward(ctx, by_loss, _):
        to_features, to_weight = ctx.saved_tensors
        if to_features is not None:
            to_features = (to_features * by_loss).to(to_features.dtype)
        if to_weight is not None:
            to_weight = (to_weight * by_loss).to(ctx.weight_dtype)
        return to_features, to_weight, None, None, None
