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
from ..vision.backbones import Backbone, get_backbone
from .base import TINY, AuxiliaryTransformerModel, ForwardPass, register_preset
from .config import MultimodalTransformerConfig


@dataclass
class HallucinationTransformerConfig(MultimodalTransformerConfig):
    """Options of the hallucination model."""

    hallucination_layers: int = option(
        2, "layers of the Transformer that predicts the image's regions from the text"
    )


class FeatureHallucinator(nn.Module):
    """P learned queries that attend to each other and to the text, each of which becomes a region's feature.

    Args:
        embed_dim: d, width of the text vectors.
        channels: C, channels of a region.
        regions: P.
        layers: number of layers.
        heads: attention heads of each.
        ffn_dim: width of their feed-forward networks.
        dropout: probability.
    """

    def __init__(
        self,
        embed_dim: int,
        channels: int,
        regions: int,
        layers: int,
        heads: int,
        ffn_dim: int,
        dropout: float,
    ):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(regions, embed_dim) * embed_dim**-0.5)
        layer = nn.TransformerDecoderLayer(
            embed_dim, heads, ffn_dim, dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(embed_dim))
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
    """The multimodal encoder with predicted regions or, where training asks for it, real ones.

    Args:
        cfg: as for :class:`MultimodalEncoder`, with ``image_size`` and ``hallucination_layers``.
        dictionary: source dictionary.
        embed_tokens: source embeddings.
        backbone: the CNN whose regions are predicted.
    """

    def __init__(self, cfg, dictionary, embed_tokens, backbone: Backbone):
        super().__init__(cfg, dictionary, embed_tokens, backbone.channels)
        self.shape = (backbone.grid(cfg.image_size) ** 2, backbone.channels)  # P, C
        sizes = (cfg.hallucination_layers, cfg.encoder.attention_heads, cfg.encoder.ffn_embed_dim)
        self.hallucinator = FeatureHallucinator(
            embed_tokens.embedding_dim, backbone.channels, self.shape[0], *sizes, cfg.dropout
        )

    def forward(
        self,
        src_tokens,
        src_lengths=None,
        return_all_hiddens=False,
        token_embeddings=None,
        real=None,
        **images,
    ):
        """As :meth:`MultimodalEncoder.forward`; *real*, ``B x P x C``, replaces the predicted regions.

        What an ensemble's image-must member is handed as *images* is not looked at.

        Raises:
            IkdError: *real* has not as many regions and channels as the predicted ones.
        """
        return super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings, features=real)

    def regions(self, text, padding_mask, images, features, image_positions):
        if features is None:
            m = self.hallucinator(text, padding_mask)
        else:
            check(
                tuple(features.shape[1:]) == self.shape,
                f"--image-features have {features.shape[1]} regions of {features.shape[2]} channels, but "
                f"--backbone and --image-size make the model predict {self.shape[0]} of {self.shape[1]}: "
                "extract them with that CNN from images of that size",
            )
            m = features.to(text.dtype)
        return m, padding_mask.new_zeros(m.shape[:2])


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

    def auxiliary_terms(self, run: ForwardPass):
        features, positions = run.features, run.image_positions
        predicted = run.encoder_out["regions"][0][positions]
        if not len(features):
            # What the terms train, translation by the predicted feature trains too: no parameter is left out.
            nothing = Term(predicted.float().sum(), 0)
            return {name: nothing for name in self.auxiliary_weights}
        by_real = self.encoder(run.src_tokens[positions], real=features)
        real_logits, _ = self.decoder(run.prev_output_tokens[positions], encoder_out=by_real)
        return {
            "real": Prediction(real_logits, positions),
            "feature": Term(distance("l2", predicted, features).sum(), len(features)),
            "consistency": TokenValues(
                divergence(real_logits.float(), run.logits[positions].float(), dim=-1), positions
            ),
        }


register_preset(
    "hallucination_transformer", "hallucination_transformer_tiny", HallucinationTransformerConfig, TINY
)
