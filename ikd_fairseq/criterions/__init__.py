"""Criterions. Importing this package registers them with fairseq."""

from .. import needs_fairseq  # noqa: F401
from . import (
    auxiliary_losses,  # noqa: F401
    inversion_distillation,  # noqa: F401
    translation_criterion,  # noqa: F401
    word_distillation,  # noqa: F401
)
