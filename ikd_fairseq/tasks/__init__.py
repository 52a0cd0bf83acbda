"""Tasks. Importing this package registers them with fairseq."""

from .. import needs_fairseq  # noqa: F401
from . import multimodal_translation, save_folder, starting  # noqa: F401
