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

from dataclasses import dataclass

import torch
from fairseq.models import register_model
from torch import Tensor, nn

from ..contracts import Prediction, Term, TokenValues
from ..errors import check
from ..modules.feature_distance import distance, divergence
from ..modules.multimodal_encoder import MultimodalEncoder
from ..modules.options import option
from .base import AuxiliaryTransformerModel, ForwardPass, register_preset
from .config import MultimodalTransformerConfig


@dataclass
class HallucinationTransformerConfig(MultimodalTransformerConfig):
    """Options of the hallucination model."""

    hallucination_layers: int = option(2, "layers of the Transformer that predicts the regions from the text")


class FeatureHallucinator(nn.Module):
    """P learned queries that attend to each other and to the text, each of which becomes a region's feature.

    Args:
        cfg: fairseq's Transformer configuration, with ``hallucination_layers``. Heads, feed-forward width and
            dropout are the encoder's.
        embed_dim: d, width of the text vectors.
        regions: P.
        channels: C, channels of a region.
    """

    def __init__(self, cfg, embed_dim: int, regions: int, channels: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(regions, embed_dim) * embed_dim**-0.5)
        sizes = cfg.encoder.attention_heads, cfg.encoder.ffn_embed_dim
        layer = nn.TransformerDecoderLayer(embed_dim, *sizes, cfg.dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, cfg.hallucination_layers, norm=nn.LayerNorm(embed_dim))
        self.projection = nn.Linear(embed_dim, channels)

    def forward(self, text: Tensor, padding_mask: Tensor) -> Tensor:
        """
        Args:
            text: embeddings with positions, ``B x I x d``.
            padding_mask: bool ``B x I``, True for padding.

        Returns:
            ``B x P x C``.
        """
        queries = self.queries.expand(len(text), -1, -1)
        return self.projection(self.layers(queries, text, memory_key_padding_mask=padding_mask))


class HallucinationEncoder(MultimodalEncoder):
    """The multimodal encoder with predicted regions or, where training asks for it, real ones."""

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        self.shape = (self.backbone.grid(cfg.image_size) ** 2, self.backbone.channels)  # P, C
        self.hallucinator = FeatureHallucinator(cfg, embed_tokens.embedding_dim, *self.shape)

    def regions(self, text, padding_mask, real=None, **images):
        """As :meth:`MultimodalEncoder.regions`; *real*, ``B x P x C``, replaces the predicted regions.

        Raises:
            IkdError: *real* has not as many regions and channels as the predicted ones.
        """
        if real is None:
            m = self.hallucinator(text, padding_mask)
        else:
            check(
                tuple(real.shape[1:]) == self.shape,
                f"--image-features have {real.shape[1]} regions of {real.shape[2]} channels, but "
                f"--backbone and --image-size make the model predict {self.shape[0]} of {self.shape[1]}: "
                "extract them with that CNN from images of that size",
            )
            m = real.to(text.dtype)
        return m, padding_mask.new_zeros(m.shape[:2])


@register_model("hallucination_transformer", dataclass=HallucinationTransformerConfig)
class HallucinationTransformerModel(AuxiliaryTransformerModel):
    """Translates with an image feature that it predicts; see the module's docstring."""

    encoder_class = HallucinationEncoder
    auxiliary_weights = {"real": 1.0, "feature": 1.0, "consistency": 0.5}

    @classmethod
    def build_model(cls, cfg, task):
        layers = cfg.hallucination_layers
        check(layers > 0, f"--hallucination-layers {layers}: give 1 or more")
        return super().build_model(cfg, task)

    def auxiliary_terms(self, run: ForwardPass):
        features, positions = run.features, run.image_positions
        predicted = run.encoder_out["regions"][0][positions]
        if not len(features):
            # What the terms train, translation by the predicted feature trains too: no parameter is left out.
            nothing = Term(predicted.float().sum(), 0)
            return {name: nothing for name in self.auxiliary_weights}
        by_real = self.encoder(run.src_tokens[positions], real=features)
        real_logits, _ = self.decoder(run.prev_output_tokens[positions], encoder_out=by_real)
        logits = self.decoder.output_layer(run.decoder_out[positions])
        return {
            "real": Prediction(real_logits, positions),
            "feature": Term(distance("l2", predicted, features).sum(), len(features)),
            "consistency": TokenValues(divergence(real_logits.float(), logits.float(), dim=-1), positions),
        }


register_preset("hallucination_transformer", "tiny")
