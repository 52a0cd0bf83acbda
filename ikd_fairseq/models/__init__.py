"""Model architectures. Importing this package registers them with fairseq."""

from . import ikd_transformer, multimodal_transformer, text_baseline  # noqa: F401
from . import hallucination_transformer, imagination_transformer, retrieval_transformer  # noqa: F401
from . import doubly_attentive_transformer, gated_fusion, selective_attention_transformer  # noqa: F401
