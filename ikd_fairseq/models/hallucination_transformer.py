"""Hallucination: the image's feature predicted from the text, held to translate as the real one does.

The idea of VALHALLA (Li et al. 2022, "VALHALLA: Visual Hallucination for Machine Translation"). With x the
source, y the target, z the image's feature and z^ its prediction from x, training minimises

- ``-log p(y | x, z^)``: translation as it is done at test, of every sentence, with or without an image
- ``real``: ``-log p(y | x, z)``, a mean over the target tokens of the sentences that have an image
- ``feature``: the L2 distance of z^ from z, free of their size (root of the mean square), a mean over images
- ``consistency``: ``KL(p(y_j | x, z, y_<j) || p(y_j | x, z^, y_<j))``, a mean over those target tokens

with one translator, which runs twice for a sentence with an image. At test there is only z^.

Deviations:

- z is a frozen CNN's last map, P regions of C real numbers; VALHALLA's are discrete tokens of a VQGAN. So the
  hallucination loss is a distance and not a likelihood, z^ follows from x at once instead of token by token,
  and gradients of translation reach the predictor directly, without the Gumbel-softmax.
- The translator is the multimodal encoder of ``ikd_transformer`` (text answers, text and regions ask),
  instead of self-attention over text and visual tokens alike: the two systems differ in how the feature is
  made and taught alone.
- The weights of the terms are ours.
"""

from dataclasses import dataclass, field

import torch
from fairseq.models import register_model
from torch import Tensor

from ..auxiliary import Prediction, Term, TokenValues
from ..errors import check
from ..modules.auxiliary_model import AuxiliaryTransformerModel
from ..modules.hallucination import HallucinationEncoder
from ..modules.multimodal_config import MultimodalTransformerConfig
from ..modules.transformer_config import TINY, register_preset
from ..vision.backbones import get_backbone

# Below this mean square the square root's slope would exceed float32's range; its gradient is zero there.
SMALLEST_MEAN_SQUARE = 1e-12


def l2_distance(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean square difference of two feature maps ``K x P x C``: float32 ``K``."""
    return (a.float() - b.float()).square().flatten(1).mean(dim=1).clamp(min=SMALLEST_MEAN_SQUARE).sqrt()


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence ``KL(p || q)`` of two distributions over words, given as logits.

    Args:
        p, q: ``K x J x V``.

    Returns:
        float32 ``K x J``, in nats.
    """
    log_p, log_q = torch.log_softmax(p.float(), dim=-1), torch.log_softmax(q.float(), dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


@dataclass
class HallucinationTransformerConfig(MultimodalTransformerConfig):
    """Options of the hallucination model."""

    hallucination_layers: int = field(
        default=2,
        metadata={"help": "layers of the Transformer that predicts the image's regions from the text"},
    )


@register_model("hallucination_transformer", dataclass=HallucinationTransformerConfig)
class HallucinationTransformerModel(AuxiliaryTransformerModel):
    """Translates with an image feature that it predicts; see the module's docstring."""

    auxiliary_weights = {"real": 1.0, "feature": 1.0, "consistency": 0.5}

    @classmethod
    def build_model(cls, cfg, task):
        layers = cfg.hallucination_layers
        check(layers > 0, f"--hallucination-layers {layers}: give 1 or more")
        return super().build_model(cfg, task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return HallucinationEncoder(cfg, src_dict, embed_tokens, get_backbone(str(cfg.backbone)))

    def auxiliary_terms(self, encoder_out, logits, src_tokens, prev_output_tokens, features, image_positions):
        predicted = encoder_out["regions"][0][image_positions]
        if not len(features):
            # What the terms train, translation by the predicted feature trains too: no parameter is left out.
            nothing = Term(predicted.float().sum(), 0)
            return {name: nothing for name in self.auxiliary_weights}
        by_real = self.encoder(src_tokens[image_positions], real=features)
        real_logits, _ = self.decoder(prev_output_tokens[image_positions], encoder_out=by_real)
        return {
            "real": Prediction(real_logits, image_positions),
            "feature": Term(l2_distance(predicted, features).sum(), len(features)),
            "consistency": TokenValues(divergence(real_logits, logits[image_positions]), image_positions),
        }


register_preset(
    "hallucination_transformer", "hallucination_transformer_tiny", HallucinationTransformerConfig, TINY
)
