"""Criterions. Importing this package registers them with fairseq."""

from . import inversion_distillation  # noqa: F401
from . import auxiliary_losses  # noqa: F401
from . import word_distillation  # noqa: F401
