"""An encoder that predicts the regions of an image from the text (after Li et al. 2022, VALHALLA)."""

import torch
from torch import Tensor, nn

from ..errors import check
from ..vision.backbones import Backbone
from .multimodal_encoder import MultimodalEncoder


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
        self.hallucinator = FeatureHallucinator(
            embed_tokens.embedding_dim,
            backbone.channels,
            self.shape[0],
            cfg.hallucination_layers,
            cfg.encoder.attention_heads,
            cfg.encoder.ffn_embed_dim,
            cfg.dropout,
        )

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
        real: Tensor | None = None,
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
