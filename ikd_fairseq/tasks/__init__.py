"""Tasks. Importing this package registers them with fairseq."""

from . import multimodal_translation  # noqa: F401
