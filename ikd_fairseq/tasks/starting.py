"""How a training starts: it goes on from a checkpoint, takes the weights of another model, or begins anew.

fairseq's trainer looks for a checkpoint once model, criterion and task are built, and before it builds the
optimizer. That is where a checkpoint is held against the data, and where ``--init-from`` applies.
"""

import functools
import logging
import os
from typing import Any

from fairseq.trainer import Trainer

from ..compat import load_safely
from ..constants import CHECKPOINT
from ..contracts import TaskContract
from ..errors import IkdError, check
from .divergence import Divergence
from .init_from import take_weights

logger = logging.getLogger(__name__)

# What the trainer says of a checkpoint that is not of this training, and what we do.
_OTHERS = {
    "Cannot load model parameters": "another model (its weights do not fit this --arch and its options)",
    "Criterion does not match": "a training with another --criterion",
    "Optimizer does not match": "a training with another --optimizer",
}

_load_checkpoint = Trainer.load_checkpoint


@functools.wraps(_load_checkpoint)
def load_checkpoint(self: Trainer, filename: str, *args: Any, **kwargs: Any) -> Any:
    """As fairseq's.

    Raises:
        IkdError: the checkpoint is of another model, training or dictionary, or does not go with
            ``--init-from``.
    """
    if not isinstance(self.task, TaskContract):
        return _load_checkpoint(self, filename, *args, **kwargs)
    task: Any = self.task
    settings, first = self.cfg.checkpoint, getattr(task.cfg, "init_from", None)
    Divergence.folder = settings.save_dir
    exists = os.path.exists(filename)
    own = filename == os.path.join(settings.save_dir, f"checkpoint_last{self.checkpoint_suffix}.pt")
    check(
        own or exists or "://" in filename,
        f"--restore-file {filename} does not exist: give a checkpoint, or leave the option out",
    )
    check(
        own or not first,
        f"--init-from {first} and {filename} (of --restore-file or --finetune-from-model) both say where to "
        "start from: give one of the two",
    )
    if exists:
        if first:
            logger.info("--init-from %s is not read: training goes on from %s", first, filename)
        state = load_safely(filename)
        if isinstance(state, dict) and isinstance(state.get("task_state"), dict):
            task.load_state_dict({**state["task_state"], CHECKPOINT: filename})
    elif first:
        task.load_state_dict({**take_weights(self.get_model(), first), CHECKPOINT: first})
    try:
        return _load_checkpoint(self, filename, *args, **kwargs)
    except IkdError:
        raise
    except Exception as error:
        if isinstance(error.__context__, IkdError):  # the trainer has told another story over ours
            raise error.__context__ from None
        other = next((kind for sign, kind in _OTHERS.items() if sign in str(error)), None)
        if other is None:
            raise
        raise IkdError(
            f"{filename} is of {other}: give another --save-dir, or start from its weights with --init-from"
        ) from error


Trainer.load_checkpoint = load_checkpoint
