"""Model architectures. Importing this package registers them with fairseq."""

from .. import needs_fairseq  # noqa: F401
from . import (  # noqa: F401
    doubly_attentive_transformer,
    gated_fusion,
    hallucination_transformer,
    ikd_transformer,
    imagination_transformer,
    multimodal_transformer,
    retrieval_transformer,
    selective_attention_transformer,
    text_baseline,
)
