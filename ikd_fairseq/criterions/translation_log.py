"""What every criterion logs of translation, beside terms of its own."""

from typing import Any

from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from torch import Tensor


def translation_log(
    criterion: LabelSmoothedCrossEntropyCriterion, model, net_output, sample, nll_loss: Tensor
) -> dict[str, Any]:
    """The entries that fairseq's label-smoothed criterion logs for a batch, but for ``loss``.

    Its ``forward`` makes them in one piece with the loss, to which further terms are still to be added.
    """
    log = {
        "nll_loss": nll_loss.data,
        "ntokens": sample["ntokens"],
        "nsentences": sample["target"].size(0),
        "sample_size": sample["target"].size(0) if criterion.sentence_avg else sample["ntokens"],
    }
    if criterion.report_accuracy:
        n_correct, total = criterion.compute_accuracy(model, net_output, sample)
        log["n_correct"] = utils.item(n_correct.data)
        log["total"] = utils.item(total.data)
    return log
