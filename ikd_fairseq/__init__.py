"""ikd_fairseq: image-free multimodal machine translation by inversion knowledge distillation, as a fairseq plugin.

Importing the package registers its task, architectures and criterion. fairseq itself imports only ``tasks`` and
``models`` of a ``--user-dir``, and not even those of a package that was imported before, hence the imports here.
"""

from . import compat, errors
from .version import __version__  # noqa: F401

errors.show_errors_without_traceback()
compat.apply()

from . import criterions, models, tasks  # noqa: E402,F401  (after compat: they import fairseq)
