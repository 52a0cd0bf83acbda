"""What the criterions share: fairseq's translation loss, to which they add terms, and its log."""

from typing import Any

import torch
from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.logging import metrics
from torch import Tensor

from ..constants import IGNORED
from ..contracts import CriterionContract


class TranslationCriterion(CriterionContract, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy, built from its configuration."""

    def __init__(self, cfg, task):
        super().__init__(
            task, cfg.sentence_avg, cfg.label_smoothing, cfg.ignore_prefix_size, cfg.report_accuracy
        )

    def translation_log(self, model, net_output, sample, nll_loss: Tensor) -> dict[str, Any]:
        """The entries that fairseq's criterion logs for a batch, but for ``loss``.

        Its ``forward`` makes them in one piece with the loss, to which further terms are still to be added.
        """
        log = {
            "nll_loss": nll_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample["target"].size(0) if self.sentence_avg else sample["ntokens"],
        }
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, sample)
            log["n_correct"] = utils.item(n_correct.data)
            log["total"] = utils.item(total.data)
        return log

    def over_workers(self, sample, *numbers: int | Tensor) -> Tensor:
        """*numbers* of this batch in float64, in training each summed over the batches of all workers.

        A batch whose loss is dropped (see ``IGNORED``) counts for nothing then.
        """
        device = sample["target"].device
        sums = torch.stack([torch.as_tensor(n, dtype=torch.float64, device=device) for n in numbers])
        if self.training and torch.distributed.is_available() and torch.distributed.is_initialized():
            sums = sums * (not sample.get(IGNORED))
            torch.distributed.all_reduce(sums)
        return sums


def log_mean(
    name: str, logging_outputs: list[dict[str, Any]], total: str, count: str, unit: float = 1.0
) -> None:
    """Logs as *name* the sum of the entries *total* over that of the entries *count*, if there are any."""
    counted = utils.item(sum(log.get(count, 0) for log in logging_outputs))
    if counted > 0:
        value = utils.item(sum(log.get(total, 0) for log in logging_outputs)) / counted / unit
        metrics.log_scalar(name, value, counted, round=4)
