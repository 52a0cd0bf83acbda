"""Translation loss plus whatever further terms a model has."""

from dataclasses import dataclass

import torch
from fairseq.criterions import register_criterion
from torch import Tensor

from ..constants import AUXILIARY, FEATURES, IMAGE_POSITIONS, IMAGES
from ..contracts import AuxiliaryModel, Entry, Prediction, Term, contract_of, model_to_train
from ..errors import check
from ..modules.options import BACKBONE_WEIGHTS_HELP, option
from ..vision.frozen_cnn import UnregisteredCNN
from .translation_criterion import TranslationCriterion, TranslationCriterionConfig, log_mean

_LOGGED, _COUNTED = "aux_", "aux_count_"  # + name of a term


@dataclass
class AuxiliaryLossesConfig(TranslationCriterionConfig):
    """The translation loss's options, and the auxiliary terms. Backbone and image size are the model's."""

    auxiliary_weights: str = option(
        "",
        "weights of the model's auxiliary terms where its own are not wanted: NAME=WEIGHT, separated by "
        "commas, such as feature=1,consistency=0.5",
    )
    backbone_weights: str = option("imagenet", BACKBONE_WEIGHTS_HELP)


def parse_weights(text: str, defaults: dict[str, float]) -> dict[str, float]:
    """*defaults* with what *text*, ``NAME=WEIGHT,...``, changes of them.

    Raises:
        IkdError: a name that *defaults* does not have, or a weight that is no number of 0 or more.
    """
    weights = dict(defaults)
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        name = name.strip()
        check(
            name in defaults,
            f"--auxiliary-weights {text}: the model has no term {name!r}; choose from {', '.join(defaults)}",
        )
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = -1.0
        check(
            0 <= weights[name] < float("inf"),
            f"--auxiliary-weights {text}: the weight of {name} is no number of 0 or more",
        )
    return weights


@register_criterion("auxiliary_losses", dataclass=AuxiliaryLossesConfig)
class AuxiliaryLossesCriterion(TranslationCriterion):
    """``CE + sum over terms of weight * term`` for any model that names its terms in ``auxiliary_weights``.

    fairseq sums the cross-entropy over tokens and divides the gradient by their number. A term of target
    tokens is such a sum too, over the sentences that have an image: with weight 1 each of their tokens counts
    once more, however few they are. A term of images is a mean over those of a batch, multiplied by the
    number of its tokens: its weight means the same at any batch size and for any share of sentences with
    images. Over several workers, images and tokens are counted together, so that those of all their batches
    weigh alike. Logged are means of both kinds, those of tokens in nats. While the model asks for one term
    alone (``trained_alone``), that term is the whole loss in training, with weight 1; validation has all of
    it always, so that its losses compare. A term of weight 0 is neither computed nor logged.

    The frozen CNN that turns images into features is no part of this module nor of the model (see
    :class:`UnregisteredCNN`). Sentences without an image train on translation alone.

    Raises:
        IkdError: the model has no auxiliary terms or was built without what they train, weights cannot be
            read, or a CNN cannot be had.
    """

    def __init__(self, cfg: AuxiliaryLossesConfig, task):
        super().__init__(cfg, task)
        model = model_to_train(task)
        check(
            isinstance(model, AuxiliaryModel),
            "--criterion auxiliary_losses trains models that have auxiliary terms, such as "
            f"imagination_transformer, on --task multimodal_translation, not {type(model).__name__}; use "
            "--criterion translation instead",
        )
        lacks = " ".join(f"--no-{name}" for name, part in model.training_parts().items() if part is None)
        check(not lacks, f"{lacks} leaves out what --criterion auxiliary_losses trains: drop one of the two")
        self.weights = parse_weights(cfg.auxiliary_weights, model.auxiliary_weights)
        self.uses_images = any(self.weights.values())
        backbone, self.channels = model.backbone, model.feature_channels
        sees_images = self.uses_images and not (task.cfg.image_features or task.cfg.image_free)
        check(
            not sees_images or self.channels == backbone.channels,
            f"the model learns from features of {self.channels} channels and not from images: name them by "
            "--image-features",
        )
        self.cnn = UnregisteredCNN(backbone, cfg.backbone_weights) if sees_images else None

    def forward(self, model, sample, reduce=True):
        """Loss of a batch, as fairseq's criterions: (loss, sample size, values to log)."""
        features, positions = self._features(model, sample["net_input"])
        given = {FEATURES: features, IMAGE_POSITIONS: positions}
        weights = self._weights_now(model, sample["net_input"])
        wanted = [name for name, weight in weights.items() if weight]
        net_output = self.run(model, sample["net_input"], **given, auxiliary=wanted)
        loss, logging_output = self.translation(model, net_output, sample, reduce)
        sample_size = logging_output["sample_size"]
        if reduce:
            entries = net_output[1][AUXILIARY]
            found = {name: self._term(model, entry, sample) for name, entry in entries.items()}
            terms = {name: found.get(name, Term(loss.new_zeros(()), 0)) for name in self.weights}
            tokens, *counts = self.over_workers(sample, sample_size, *(term.count for term in terms.values()))
            if weights is not self.weights:
                loss = 0 * loss  # not left out: every parameter is to get a gradient
            for (name, term), count in zip(terms.items(), counts):
                of_images = isinstance(entries.get(name), Term)
                scale = (tokens / count.clamp(min=1)).to(loss.dtype) if of_images else 1
                loss = loss + weights[name] * scale * term.total
                logging_output[_LOGGED + name] = term.total.data
                # A tensor for every batch: workers add up numbers and tensors apart.
                logging_output[_COUNTED + name] = term.count + torch.zeros_like(loss, dtype=torch.long)
        logging_output["loss"] = loss.data
        return loss, sample_size, logging_output

    def _weights_now(self, model, net_input) -> dict[str, float]:
        """``self.weights``, or those of a model in training that asks for one term alone."""
        alone = contract_of(model, AuxiliaryModel).trained_alone if model.training else None
        if alone is None or not self.weights[alone] or IMAGE_POSITIONS not in net_input:
            return self.weights
        return {name: float(name == alone) for name in self.weights}

    def _features(self, model, net_input) -> tuple[Tensor, Tensor]:
        """The batch's real features, ``K x P x C``, and the sentences that they belong to, ``K``."""
        if not self.uses_images or IMAGE_POSITIONS not in net_input:
            nothing = net_input["src_tokens"].new_empty((0,))
            return nothing.float().view(0, 1, self.channels), nothing
        positions = net_input[IMAGE_POSITIONS]
        if FEATURES in net_input:
            return net_input[FEATURES].float(), positions
        precision = next(model.parameters()).dtype
        return self.cnn.regions(net_input[IMAGES], precision).float(), positions

    def _term(self, model, entry: Entry, sample) -> Term:
        """*entry* as a sum; padding of the target, which the model does not know, left out."""
        if isinstance(entry, Term):
            return entry
        target = sample["target"][entry.positions]
        tokens = target.ne(self.padding_idx)
        tokens[:, : self.ignore_prefix_size] = False
        if isinstance(entry, Prediction):
            loss, _ = self.compute_loss(model, (entry.logits, {}), {"target": target})
        else:
            loss = entry.values.masked_fill(~tokens, 0).sum()
        return Term(loss, tokens.sum())

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs the translation loss as fairseq does, and each auxiliary term as its mean."""
        super().reduce_metrics(logging_outputs)
        for key in logging_outputs[0]:
            if key.startswith(_COUNTED):
                name = _LOGGED + key.removeprefix(_COUNTED)
                log_mean(name, logging_outputs, name, key)
