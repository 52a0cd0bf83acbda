"""Imported first by every room whose modules extend fairseq, so that fairseq is there before they are.

fairseq's arrival registers the plugin, which imports these modules; halfway through one of them is too late.
"""

from .compat import require_fairseq

require_fairseq()
