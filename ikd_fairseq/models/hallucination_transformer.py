"""Hallucination: the image's feature predicted from the text, held to translate as the real one does.

The idea of VALHALLA (Li et al. 2022, "VALHALLA: Visual Hallucination for Machine Translation"). With x the
source, y the target, z the image's feature and z^ its prediction from x, training minimises

- ``-log p(y | x, z^)``: translation as it is done at test, of every sentence, with or without an image
- ``real``: ``-log p(y | x, z)``, of the sentences that have an image
- ``feature``: the L2 distance of z^ from z, free of their size (root of the mean square), a mean over images
- ``consistency``: ``KL(p(y_j | x, z, y_<j) || p(y_j | x, z^, y_<j))``, of their target tokens

with one translator, which runs twice for a sentence with an image. At test there is only z^. The weights are
those of their release (``label_smoothed_cross_entropy_hal.py``, ``scripts/multi30k/train.sh``) at 1 for each
of the two translation losses, which it halves: 1 for consistency, no gradient of which is stopped. The
hallucination loss it adds, times .5, is a mean beside sums over the some 2,048 tokens of a batch: 1 / 2,048.

What keeps z^ near z there is that its predictor is trained before, on that loss alone, to convergence.
**That stage is missing here.** An option can stand for it: in the first ``--feature-warmup-updates`` updates
the feature term is the whole loss. They count as updates, and the text's embeddings, which predictor and
translator share here, learn in them too. It is off, as on Multi30K it made translation worse and the
predicted feature no better (docs/results-small-budget.md).

Deviations:

- z is a frozen CNN's last map, P regions of C real numbers; VALHALLA's are discrete tokens of a VQGAN. So the
  hallucination loss is a distance and not a likelihood, z^ follows from x at once instead of token by token,
  and gradients of translation reach the predictor directly, without the Gumbel-softmax.
- The translator is the multimodal encoder of ``ikd_transformer`` (text answers, text and regions ask),
  instead of self-attention over text and visual tokens alike: the two systems differ in how the feature is
  made and taught alone.
- Positions of regions are, as theirs, sums of a sinusoid of the row and one of the column, but nothing is
  pooled to their 4 x 4 grid, and the projected feature is not scaled by the square root of the width.
- Layer normalisation comes first in every block of ``hallucination_transformer_tiny``. In their code it comes
  last, which is ``hallucination_transformer_tiny_postnorm``, the predictor's blocks apart.
"""

import math
from dataclasses import dataclass

import torch
from fairseq.models import register_model
from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from ..contracts import Entry, Prediction, Term, TokenValues
from ..errors import check
from ..modules.feature_distance import distance, divergence
from ..modules.image_regions import region_shape
from ..modules.multimodal_encoder import MultimodalEncoder
from ..modules.options import option
from .base import AuxiliaryTransformerModel, ForwardPass
from .config import MultimodalTransformerConfig, RegionConfig
from .presets import register_preset


@dataclass
class HallucinationTransformerConfig(MultimodalTransformerConfig, RegionConfig):
    """Options of the hallucination model."""

    hallucination_layers: int = option(2, "layers of the Transformer that predicts the regions from the text")
    feature_warmup_updates: int = option(
        0,
        "updates, the first ones, that train the prediction of the regions alone, such as 500, in place of "
        "VALHALLA's pretraining",
    )


class FeatureHallucinator(nn.Module):
    """P learned queries that attend to each other and to the text, each of which becomes a region's feature.

    Args:
        cfg: fairseq's Transformer configuration, with ``hallucination_layers``. Heads, feed-forward width
            and all dropout are the encoder's.
        embed_dim: d, width of the text vectors.
        regions: P.
        channels: C, channels of a region.
    """

    def __init__(self, cfg, embed_dim: int, regions: int, channels: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(regions, embed_dim) * embed_dim**-0.5)
        layers = [self._layer(cfg, embed_dim) for _ in range(cfg.hallucination_layers)]
        self.layers = nn.TransformerDecoder(layers[0], len(layers), norm=nn.LayerNorm(embed_dim))
        self.layers.layers = nn.ModuleList(layers)  # PyTorch's are copies of the first, weights and all
        self.projection = nn.Linear(embed_dim, channels)

    @staticmethod
    def _layer(cfg, embed_dim: int) -> nn.TransformerDecoderLayer:
        layer = nn.TransformerDecoderLayer(
            embed_dim,
            cfg.encoder.attention_heads,
            cfg.encoder.ffn_embed_dim,
            cfg.dropout,
            batch_first=True,
            norm_first=True,
        )
        layer.self_attn.dropout = layer.multihead_attn.dropout = cfg.attention_dropout
        layer.dropout.p = cfg.activation_dropout
        return layer

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


def grid_positions(regions: int, width: int) -> Tensor:
    """For each position of a square grid, row by row, the sum of a sinusoid of its row and one of its column.

    Where one more region makes a square grid, as a class token's does, it comes first and has zeros. Regions
    that are no grid are numbered in a line.

    Returns:
        float32 ``P x width``.
    """
    side, more = math.isqrt(regions), 0
    if side**2 != regions:
        side, more = math.isqrt(regions - 1), 1
    if side**2 + more != regions:
        return SinusoidalPositionalEmbedding.get_embedding(regions, width)
    sinusoids = SinusoidalPositionalEmbedding.get_embedding(side, width)
    grid = (sinusoids.unsqueeze(1) + sinusoids.unsqueeze(0)).flatten(0, 1)
    return torch.cat([grid.new_zeros(more, width), grid])


class PlacedProjection(nn.Linear):
    """A linear map of regions, ``... x P x C``, to which each region's :func:`grid_positions` are added."""

    def __init__(self, regions: int, channels: int, width: int):
        super().__init__(channels, width)
        self.register_buffer("positions", grid_positions(regions, width), persistent=False)
        self.register_buffer("placed", torch.tensor(1.0))  # 0 where a checkpoint knew no positions

    def forward(self, regions: Tensor) -> Tensor:
        return super().forward(regions) + self.placed * self.positions

    def upgrade_state_dict_named(self, state_dict, name: str) -> None:
        """A checkpoint of 0.1.0, which knew no positions of regions, gets none and stays as it was."""
        state_dict.setdefault(f"{name}.placed", torch.tensor(0.0))


class HallucinationEncoder(MultimodalEncoder):
    """The multimodal encoder with predicted regions or, where training asks for it, real ones."""

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        self.shape = region_shape(cfg)
        self.region_projection = PlacedProjection(*self.shape, embed_tokens.embedding_dim)
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
                f"these images have {real.shape[1]} regions of {real.shape[2]} channels, but the model "
                f"predicts {self.shape[0]} of {self.shape[1]}: train it on images or features of that shape",
            )
            m = real.to(text.dtype)
        return m, padding_mask.new_zeros(m.shape[:2])


@register_model("hallucination_transformer", dataclass=HallucinationTransformerConfig)
class HallucinationTransformerModel(AuxiliaryTransformerModel):
    """Translates with an image feature that it predicts; see the module's docstring."""

    encoder_class = HallucinationEncoder
    auxiliary_weights = {"real": 1.0, "feature": 1 / 2048, "consistency": 1.0}

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.feature_regions = encoder.shape[0]
        self.feature_warmup_updates = cfg.feature_warmup_updates

    @classmethod
    def build_model(cls, cfg, task):
        layers, warmup = cfg.hallucination_layers, cfg.feature_warmup_updates
        check(layers > 0, f"--hallucination-layers {layers}: give 1 or more")
        check(warmup >= 0, f"--feature-warmup-updates {warmup}: give 0 or more")
        return super().build_model(cfg, task)

    def set_num_updates(self, num_updates: int) -> None:
        """Called by fairseq before every update, with the number of those that are done."""
        super().set_num_updates(num_updates)
        self.trained_alone = "feature" if num_updates < self.feature_warmup_updates else None

    def auxiliary_terms(self, run: ForwardPass, wanted):
        features, positions = run.features, run.image_positions
        predicted = run.encoder_out["regions"][0][positions]
        if not len(features):
            # What the terms train, translation by the predicted feature trains too: no parameter is left out.
            nothing = Term(predicted.float().sum(), 0)
            return {name: nothing for name in self.auxiliary_weights}
        terms: dict[str, Entry] = {}
        if "feature" in wanted:
            terms["feature"] = Term(distance("l2", predicted, features).sum(), len(features))
        if "real" in wanted or "consistency" in wanted:
            by_real = self.encoder(run.src_tokens[positions], real=features)
            real_logits, _ = self.decoder(run.prev_output_tokens[positions], encoder_out=by_real)
        if "real" in wanted:
            terms["real"] = Prediction(real_logits, positions)
        if "consistency" in wanted:
            logits = self.decoder.output_layer(run.decoder_out[positions])
            apart = divergence(real_logits.float(), logits.float(), dim=-1)
            terms["consistency"] = TokenValues(apart, positions)
        return terms


register_preset("hallucination_transformer", "tiny")
register_preset("hallucination_transformer", "tiny_postnorm")
