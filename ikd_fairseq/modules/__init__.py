"""Parts that several systems share: layers, losses, image indexes, options, the search and the optimiser."""

from .. import needs_fairseq  # noqa: F401
