"""A plugin for fairseq: image-free multimodal machine translation by inversion knowledge distillation.

Importing the package is cheap. Its task, architectures and criterions are registered as soon as fairseq is in
the process too, whichever of the two comes first: fairseq itself would import only ``tasks`` and ``models``
of a ``--user-dir``, and not even those of a package that was imported before.
"""

import sys
from types import ModuleType

import wrapt

from . import errors
from .version import __version__  # noqa: F401

# The one module that extends fairseq in a room that is of use without it.
_DATASETS = f"{__name__}.data.image_pair_dataset"


def _register(imported: ModuleType) -> None:
    if imported.__name__ == "fairseq" and _DATASETS in sys.modules:
        return  # half imported, it has brought fairseq; its own end calls again
    from . import compat

    compat.apply()
    from . import criterions, models, tasks  # noqa: F401


errors.show_errors_without_traceback()
for _name in ("fairseq", _DATASETS):
    wrapt.register_post_import_hook(_register, _name)
