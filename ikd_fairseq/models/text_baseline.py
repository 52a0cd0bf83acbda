"""The text-only baseline: fairseq's own Transformer in the sizes of Wu et al. 2021, and in half of them.

fairseq already owns the name ``transformer_tiny`` (with other sizes), hence ``transformer_mmt_tiny``.
"""

from fairseq.models import register_model
from fairseq.models.transformer import TransformerEncoderBase

from ..modules.transformer_config import (
    NANO,
    TINY,
    FlatTransformerConfig,
    FlatTransformerModel,
    register_preset,
)


class TextEncoder(TransformerEncoderBase):
    """fairseq's encoder; in an ensemble with an image-must model it is handed images, and leaves them alone."""

    def forward(
        self, src_tokens, src_lengths=None, return_all_hiddens=False, token_embeddings=None, **images
    ):
        return super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)


@register_model("transformer_mmt", dataclass=FlatTransformerConfig)
class TextTransformerModel(FlatTransformerModel):
    """Vaswani et al. 2017: encoder, decoder and embeddings are fairseq's."""

    requires_images = False

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return TextEncoder(cfg, src_dict, embed_tokens)


register_preset("transformer_mmt", "transformer_mmt_tiny", FlatTransformerConfig, TINY)
register_preset("transformer_mmt", "transformer_mmt_nano", FlatTransformerConfig, NANO)
