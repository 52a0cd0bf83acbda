"""Model architectures. Importing this package registers them with fairseq."""

from . import text_baseline  # noqa: F401
