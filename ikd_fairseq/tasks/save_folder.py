"""One training at a time writes into a ``--save-dir``: a second is told who is there, and stops.

Several at once would overwrite each other's checkpoints, and resume from those of another. The process that
saves looks at the folder before it builds anything; what it calls for that is replaced here.
"""

import os

from fairseq import checkpoint_utils

from ..errors import IkdError
from ..io.locks import claim_for_good

_LAST = "checkpoint_last.pt"
_look_at = checkpoint_utils.verify_checkpoint_directory


def claim_save_folder(folder: str) -> None:
    """Makes *folder* if need be, and holds its lock until the process ends.

    Raises:
        IkdError: another training writes there, or it cannot be written to.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        claim_for_good(os.path.join(folder, _LAST))
        _look_at(folder)
    except OSError as error:
        raise IkdError(f"--save-dir {folder} cannot be written to ({error.strerror or error})") from error


checkpoint_utils.verify_checkpoint_directory = claim_save_folder
