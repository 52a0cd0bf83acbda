"""The text-only baseline: fairseq's own Transformer in the sizes of Wu et al. 2021, and in half of them.

fairseq already owns the name ``transformer_tiny`` (with other sizes), hence ``transformer_mmt_tiny``.
"""

from fairseq.models import register_model

from .base import FlatTransformerModel
from .config import FlatTransformerConfig
from .presets import register_preset


@register_model("transformer_mmt", dataclass=FlatTransformerConfig)
class TextTransformerModel(FlatTransformerModel):
    """Vaswani et al. 2017: encoder, decoder and embeddings are fairseq's."""


register_preset("transformer_mmt", "tiny")
register_preset("transformer_mmt", "tiny_postnorm")
register_preset("transformer_mmt", "nano")
