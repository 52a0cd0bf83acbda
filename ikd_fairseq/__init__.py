"""A plugin for fairseq: image-free multimodal machine translation by inversion knowledge distillation.

Importing the package is cheap. Its task, architectures and criterions are registered as soon as fairseq is in
the process too, whichever of the two comes first: fairseq itself would import only ``tasks`` and ``models``
of a ``--user-dir``, and not even those of a package that was imported before.
"""

import warnings
from types import ModuleType

import wrapt

from . import errors
from .version import __version__  # noqa: F401


def _register(fairseq: ModuleType) -> None:
    from . import allocator, compat

    allocator.keep_memory()  # before anything large is allocated
    compat.apply()
    from . import criterions, models, tasks  # noqa: F401
    from .modules import fused_adam

    fused_adam.use_fused_adam()


# Of what fairseq does while it is imported, in front of every --help.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
errors.show_errors_without_traceback()
wrapt.register_post_import_hook(_register, "fairseq")
