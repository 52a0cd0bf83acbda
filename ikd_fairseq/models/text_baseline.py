"""The text-only baseline: fairseq's own Transformer, here with the sizes of Wu et al. 2021 as a preset.

fairseq already owns the name ``transformer_tiny`` (with other sizes), hence ``transformer_mmt_tiny``.
"""

from fairseq.models import register_model

from ..modules.transformer_config import TINY, FlatTransformerConfig, FlatTransformerModel, register_preset


@register_model("transformer_mmt", dataclass=FlatTransformerConfig)
class TextTransformerModel(FlatTransformerModel):
    """Vaswani et al. 2017, untouched: encoder, decoder and embeddings are fairseq's."""

    requires_images = False


register_preset("transformer_mmt", "transformer_mmt_tiny", FlatTransformerConfig, TINY)
