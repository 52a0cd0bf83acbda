"""Model architectures. Importing this package registers them with fairseq."""

from . import ikd_transformer, multimodal_transformer, text_baseline  # noqa: F401
