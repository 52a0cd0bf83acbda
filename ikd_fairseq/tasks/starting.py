"""How a training starts: it goes on from a checkpoint, takes the weights of another model, or begins anew.

fairseq's trainer looks for a checkpoint once model, criterion and task are built, and before it builds the
optimizer. That is where a checkpoint is held against the data, and where ``--init-from`` applies.
"""

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from ..constants import CHECKPOINT, DICTIONARIES, EARLY_STOPPING, LANGUAGES
from ..contracts import TaskContract
from ..errors import IkdError, check, naming
from ..torch_files import load_safely
from .divergence import Divergence
from .early_stopping import go_on_counting
from .init_from import take_weights
from .option_checks import check_batches
from .run_facts import code as note_code

logger = logging.getLogger(__name__)

# What the trainer says of a checkpoint that is not of this training; what we do, and what helps.
_OTHERS = {
    "Cannot load model parameters": (
        "another model (its weights do not fit this --arch and its options)",
        "start from its weights with --init-from",
    ),
    "Criterion does not match": ("a training with another --criterion", "add --reset-optimizer"),
    "Optimizer does not match": ("a training with another --optimizer", "add --reset-optimizer"),
}

_load_checkpoint = Trainer.load_checkpoint


@functools.wraps(_load_checkpoint)
def load_checkpoint(self: Trainer, filename: str, *args: Any, **kwargs: Any) -> Any:
    """As fairseq's, for all tasks; with the plugin's, see :func:`prepare` too.

    Raises:
        IkdError: the checkpoint is of another model or training.
    """
    ours = isinstance(self.task, TaskContract)
    if ours:
        prepare(self, filename)
    with naming(filename):
        extra_state = _load_or_explain(self, filename, *args, **kwargs)
    done, most = self.get_num_updates(), self.cfg.optimization.max_update
    if ours and 0 < most <= done:  # fairseq would train one more update, and write its checkpoints anew
        logger.info("%s has been trained for %d updates, and --max-update is %d: done", filename, done, most)
        raise SystemExit(0)
    return extra_state


def _load_or_explain(self: Trainer, filename: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return _load_checkpoint(self, filename, *args, **kwargs)
    except IkdError:
        raise
    except Exception as error:
        if isinstance(error.__context__, IkdError):  # the trainer has told another story over ours
            raise error.__context__ from None
        for sign, (other, remedy) in _OTHERS.items():
            if sign in str(error):
                raise IkdError(f"{filename} is of {other}: give another --save-dir, or {remedy}") from error
        raise


def prepare(trainer: Trainer, filename: str) -> None:
    """Holds the checkpoint that training goes on from against the data, or takes the weights of another.

    Args:
        filename: where training goes on from, if there is such a file.

    Raises:
        IkdError: it was trained with other dictionaries, is asked for and missing, or does not go with
            ``--init-from``.
    """
    note_code()
    task, settings = trainer.task, trainer.cfg.checkpoint
    first = task.cfg.init_from
    Divergence.folder = settings.save_dir
    exists = os.path.exists(filename)
    own = filename == os.path.join(settings.save_dir, f"checkpoint_last{trainer.checkpoint_suffix}.pt")
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
        state = dict(take_weights(trainer.get_model(), first))
        if isinstance(known := state.get(DICTIONARIES), Mapping):  # those of another direction may begin one
            state[DICTIONARIES] = {name: value for name, value in known.items() if name != LANGUAGES}
        task.load_state_dict({**state, CHECKPOINT: first})


_begin = checkpoint_utils.load_checkpoint


@functools.wraps(_begin)
def begin(settings: Any, trainer: Trainer, **kwargs: Any) -> Any:
    """As fairseq's, which finds the checkpoint that its options name, after a look at some of the others.

    Raises:
        IkdError: an option asks for what cannot be.
        SystemExit: with status 0: early stopping had ended the training.
    """
    check_batches(trainer.cfg)
    try:
        extra_state, batches = _begin(settings, trainer, **kwargs)
    except ValueError as error:
        if "tune-from-model" in str(error):  # fairseq's sentence about its options
            raise IkdError(str(error)) from error
        raise
    before = trainer.task.state.state_dict.pop(EARLY_STOPPING, None)  # none in a task of fairseq's
    # Where fairseq does not go on with the best value of before (--reset-meters), neither does this.
    goes_on = extra_state is not None and hasattr(checkpoint_utils.save_checkpoint, "best")
    go_on_counting(settings, before if goes_on else None)
    return extra_state, batches


_build_ema = Trainer._build_ema


@functools.wraps(_build_ema)
def build_ema(self: Trainer) -> None:
    """As fairseq's, which averages all that a model keeps (``--store-ema``), and fails at what is no float.

    Counts of batches and the masks of pruned weights are taken over as they are. Versions of modules go with
    the weights: without them fairseq takes the average for one of an old model, and drops its last norms.
    """
    _build_ema(self)
    if self._ema is not None:
        state, restore = self.get_model().state_dict(), self._ema.restore
        self._ema.skip_keys = {name for name, value in state.items() if not value.is_floating_point()}
        versions = {name: value for name, value in state.items() if "version" in name}
        self._ema.restore = lambda mean, *args, **kwargs: restore({**versions, **mean}, *args, **kwargs)


Trainer._build_ema = build_ema
Trainer.load_checkpoint = load_checkpoint
checkpoint_utils.load_checkpoint = begin
