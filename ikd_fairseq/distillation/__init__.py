"""A translation model teaches another: caches, ensembles, distilled folders, n-best lists."""

from .. import needs_fairseq  # noqa: F401
