"""The translation loss that all criterions share and add terms to, and its log."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.distributed import utils as distributed
from fairseq.logging import metrics
from torch import Tensor

from ..constants import IGNORED, IMAGE_INPUTS, IMAGE_POSITIONS
from ..contracts import (
    CriterionContract,
    ModelContract,
    contract_of,
    inputs_of,
    model_to_train,
    output_matrix_of,
)
from ..errors import check
from ..modules.options import option
from ..modules.vocabulary_loss import Agreement, Objective, SmoothedLikelihood, vocabulary_loss


@dataclass
class TranslationCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """fairseq's label smoothing, and the agreement of two passes."""

    consistency_weight: float = option(
        0.0,
        "show every training sentence to the model twice, each time with other dropout, and add by this "
        "weight how far its two answers diverge (R-Drop's alpha, 5 there); an update takes about twice the "
        "time and memory",
    )
    consistency_hides_regions: bool = option(
        False,
        "with --consistency-weight: hide the regions from the decoder in the second pass, so that the model "
        "is to translate alike with and without them",
    )


class TranslationCriterion(CriterionContract, LabelSmoothedCrossEntropyCriterion):
    """fairseq's label-smoothed cross-entropy, built from its configuration.

    Of a model that says what makes logits of its decoder's output (:meth:`ModelContract.output_matrix`) the
    loss is computed without ever holding the logits of a batch. Any other, such as
    fairseq's own transformer, is asked for its log-probabilities, as fairseq does.

    With a ``consistency_weight`` a training batch goes through the model twice at once, see
    :class:`~ikd_fairseq.modules.vocabulary_loss.Agreement`. Further terms are of the first pass.

    Raises:
        IkdError: the weight is negative or no number, or the model has no regions to hide.
    """

    def __init__(self, cfg, task):
        super().__init__(
            task, cfg.sentence_avg, cfg.label_smoothing, cfg.ignore_prefix_size, cfg.report_accuracy
        )
        self.consistency_weight = cfg.consistency_weight
        fits = 0 <= self.consistency_weight < math.inf
        check(fits, f"--consistency-weight {self.consistency_weight}: give a number of 0 or more")
        self.hides_regions = cfg.consistency_hides_regions
        if self.hides_regions:
            check(self.consistency_weight > 0, "--consistency-hides-regions needs a --consistency-weight")
            model = model_to_train(task)
            check(
                contract_of(model, ModelContract).hides_regions,
                f"--consistency-hides-regions: {type(model).__name__} has no regions that it can do without; "
                "leave it out",
            )

    def forward(self, model, sample, reduce=True):
        """Loss of a batch, as fairseq's criterions: (loss, sample size, values to log)."""
        net_output = self.run(model, sample["net_input"])
        loss, logging_output = self.translation(model, net_output, sample, reduce)
        logging_output["loss"] = loss.data
        return loss, logging_output["sample_size"], logging_output

    def run(self, model, net_input: dict[str, Any], **asked: Any):
        """The model's output for :meth:`translation`.

        Args:
            net_input: of the batch; images are left out where the model needs none.
            asked: further arguments of the model.
        """
        if output_matrix_of(model) is not None:
            asked["features_only"] = True
        inputs = inputs_of(net_input, model)
        if self.consistency_weight and self.training:
            inputs = twice(inputs)
            if self.hides_regions:
                tokens = inputs["src_tokens"]
                second = torch.arange(len(tokens), device=tokens.device) >= len(net_input["src_tokens"])
                inputs["hide_regions"] = second.unsqueeze(1)
        return model(**inputs, **asked)

    def translation(self, model, net_output, sample, reduce: bool = True) -> tuple[Tensor, dict[str, Any]]:
        """The translation loss of what :meth:`run` returned, and all that is logged of it but for ``loss``.

        A sum; or, unless *reduce*, of every target position one, padding included, ``B J x 1``.
        """
        log = {
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample["target"].size(0) if self.sentence_avg else sample["ntokens"],
        }
        matrix = output_matrix_of(model)
        if not reduce:
            first = net_output[0][: len(sample["target"])]
            output = first if matrix is None else first @ matrix.T
            loss, nll_loss = self.compute_loss(model, (output, net_output[1]), sample, reduce=False)
            return loss, {**log, "nll_loss": nll_loss.data}
        features = net_output[0]
        if matrix is None:  # log-probabilities are logits too
            features = model.get_normalized_probs(net_output, log_probs=True)
        counted, passes = self.counted(sample), len(features) // len(sample["target"])
        features = features.reshape(passes, -1, features.size(-1)).index_select(1, counted)
        objective = self.objective(sample, counted)
        if passes > 1:
            objective = Agreement(objective, self.consistency_weight)
            log["consistency_tokens"] = len(counted)
        sums = vocabulary_loss(features, matrix, objective)
        if self.report_accuracy:
            log.update(n_correct=int(sums.pop("n_correct")), total=len(counted))
        loss = sums.pop("loss")
        return loss, {**log, **sums}

    def counted(self, sample) -> Tensor:
        """The positions of the target that count, of all sentences in one row: int64 ``N``."""
        counts = sample["target"].ne(self.padding_idx)
        counts[:, : self.ignore_prefix_size] = False
        return counts.flatten().nonzero().squeeze(-1)

    def objective(self, sample, counted: Tensor) -> Objective:
        """What is summed over the positions *counted*."""
        target = sample["target"].flatten()[counted]
        return SmoothedLikelihood(target, self.eps, self.report_accuracy)

    def over_workers(self, sample, *numbers: int | Tensor) -> Tensor:
        """*numbers* of this batch in float64, in training each summed over the batches of all workers.

        A batch whose loss is dropped (see ``IGNORED``) counts for nothing then.
        """
        zero = sample["target"].new_zeros((), dtype=torch.float64)
        sums = torch.stack([zero + n for n in numbers])  # a GPU is waited for where numbers are sent to it
        if self.training and distributed.get_data_parallel_world_size() > 1:
            sums = sums * (not sample.get(IGNORED))
            distributed.all_reduce(sums, distributed.get_data_parallel_group())
        return sums

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs the translation loss as fairseq does, and by token in bits how far two passes are apart."""
        super().reduce_metrics(logging_outputs)
        log_mean("consistency", logging_outputs, "consistency", "consistency_tokens", unit=math.log(2))


def twice(net_input: dict[str, Any]) -> dict[str, Any]:
    """*net_input* of 2 B sentences, those of the batch and then the same again, with the images of B."""
    sentences = len(net_input["src_tokens"])
    doubled = {}
    for name, value in net_input.items():
        if name == IMAGE_POSITIONS:
            doubled[name] = torch.cat([value, value + sentences])
        else:
            again = isinstance(value, Tensor) and name not in IMAGE_INPUTS
            doubled[name] = torch.cat([value, value]) if again else value
    return doubled


@register_criterion("translation", dataclass=TranslationCriterionConfig)
class PlainTranslationCriterion(TranslationCriterion):
    """The translation loss alone: fairseq's ``label_smoothed_cross_entropy`` in less time and memory."""


# fairseq's trainer knows a run's criterion by the name of its class: with fairseq's own, a run that began
# with either goes on with the other.
PlainTranslationCriterion.__name__ = LabelSmoothedCrossEntropyCriterion.__name__


def log_mean(
    name: str, logging_outputs: list[dict[str, Any]], total: str, count: str, unit: float = 1.0
) -> None:
    """Logs as *name* the sum of the entries *total* over that of the entries *count*, if there are any."""
    counted = utils.item(sum(log.get(count, 0) for log in logging_outputs))
    if counted > 0:
        value = utils.item(sum(log.get(total, 0) for log in logging_outputs)) / counted / unit
        metrics.log_scalar(name, value, counted, round=4)
