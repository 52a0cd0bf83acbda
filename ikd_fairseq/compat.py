"""The few adjustments that today's Python and PyTorch ask of fairseq 0.12, each with its reason.

Applied once, when the package and fairseq are both imported. None changes what a training run computes.
"""

import atexit
import contextlib
import functools
import logging
import os
import queue
import shutil
import threading
from collections.abc import Iterator
from typing import Any

from .checkpoint_settings import check_history, check_settings, complete_settings
from .checkpoint_weights import check_weights
from .constants import CHECKPOINT, DICTIONARIES, IMAGE_FEATURES
from .dictionaries import check_dictionary
from .errors import IkdError, check, naming
from .torch_files import load_safely, register_safe_globals, save

SUPPORTED_FAIRSEQ = "0.12."

# These name files that went into the weights long ago, and need not be there any more.
_FILES_OF_BUILDING = ("encoder_embed_path", "decoder_embed_path")


def require_fairseq() -> None:
    """Refuses, in one sentence, a missing fairseq or one that this plugin cannot extend.

    Python 3.11 rejects the dataclasses of the original fairseq 0.12.2; the distribution ``fairseq-fixed``
    holds the same code, repaired, under the same import name.
    """
    remedy = "install the plugin with all that it needs: pip install . in its checkout"
    try:
        import fairseq
    except ModuleNotFoundError as error:
        raise IkdError(f"fairseq cannot be imported ({error}); {remedy}") from error
    except ValueError as error:
        check(
            "mutable default" not in str(error),
            "the installed fairseq does not run on Python 3.11 or newer; "
            f"uninstall it (pip uninstall fairseq) and {remedy}, which brings fairseq-fixed",
        )
        raise
    version = str(getattr(fairseq, "__version__", "unknown"))
    other = f"this plugin extends fairseq {SUPPORTED_FAIRSEQ}x, but fairseq {version} is installed"
    check(version.startswith(SUPPORTED_FAIRSEQ), f"{other}; {remedy}")


def _unwritten(filename: str, error: Exception) -> IkdError:
    """The sentence about a checkpoint that cannot be written; removes what there is of it."""
    with contextlib.suppress(OSError):
        os.remove(f"{filename}.tmp")
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return IkdError(
        f"checkpoint {filename} cannot be written ({reason}): free some space, or see to the folder, and run "
        "the same command again; the checkpoints there are whole"
    )


def copy_checkpoints_atomically() -> None:
    """Makes fairseq's copy of a fresh checkpoint to ``checkpoint_last.pt`` all or nothing.

    fairseq writes the first file of a save under a temporary name but copies it over the others in place:
    killed in between, the run is left with a truncated ``checkpoint_last.pt`` and cannot be resumed.
    """
    from fairseq.file_io import PathManager

    copy_anywhere = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if "://" in src_path or "://" in dst_path:  # a remote file: iopath's, where that is installed
            return copy_anywhere(src_path, dst_path, overwrite)
        partial = f"{dst_path}.tmp"
        try:
            shutil.copyfile(src_path, partial)
        except OSError as error:
            raise _unwritten(dst_path, error) from error
        os.replace(partial, dst_path)
        return True

    PathManager.copy = staticmethod(copy)


def tell_of_unwritten_checkpoints() -> None:
    """Makes a checkpoint that fairseq cannot write one sentence, and leaves no part of it behind."""
    from fairseq import checkpoint_utils

    save_persistently = checkpoint_utils.torch_persistent_save

    @functools.wraps(save_persistently)
    def save_or_tell(obj: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return save_persistently(obj, filename, *args, **kwargs)
        except (OSError, RuntimeError) as error:
            raise _unwritten(filename, error) from error

    checkpoint_utils.torch_persistent_save = save_or_tell
    # fairseq's tries again on a file that has moved on, waits, and prints a traceback.
    checkpoint_utils._torch_persistent_save = save


def refuse_unsafe_checkpoints() -> None:
    """Lets fairseq load only what the safe loader reads, with harmless settings; others are named.

    What it loads goes through :func:`.complete_settings`.

    PyTorch's own message takes a screen, does not say which file it was, and explains how to switch safety
    off. The look ahead maps the file and reads it once, to find damage and weights that are not finite.
    """
    from fairseq import checkpoint_utils

    load = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(load)
    def load_if_safe(path, arg_overrides=None, *args, **kwargs):
        if os.path.exists(path):
            state = load_safely(path)
            check(
                isinstance(state, dict),
                f"checkpoint {path} is no checkpoint of fairseq: it holds no dictionary",
            )
            check_settings(state, path)
            check_history(state, f"checkpoint {path} is damaged")
            if isinstance(state.get("model"), dict):
                check_weights(state, path)
        with _saying_what_is_wrong(f"checkpoint {path} is malformed"):
            state = load(path, arg_overrides, *args, **kwargs)
        complete_settings(state, arg_overrides)
        model = getattr(state.get("cfg"), "model", None)
        for name in _FILES_OF_BUILDING:
            if getattr(model, name, None):
                setattr(model, name, None)
        if isinstance(state.get("task_state"), dict) and DICTIONARIES in state["task_state"]:
            state["task_state"][CHECKPOINT] = str(path)  # for the task to name
            trained_on = getattr(getattr(state.get("cfg"), "task", None), "image_features", None)
            state["task_state"][IMAGE_FEATURES] = trained_on
        return state

    checkpoint_utils.load_checkpoint_to_cpu = load_if_safe

    load_models = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(load_models)
    def load_models_that_fit(filenames, *args, **kwargs):
        files = ", ".join(map(str, filenames))
        for name in filenames:
            parts = kwargs.get("suffix") or kwargs.get("num_shards", 1) > 1
            check(parts or "://" in name or os.path.exists(name), f"checkpoint {name}: there is no such file")
        misfit = f"{files} does not fit the model that its settings describe"
        with naming(files), _saying_what_is_wrong(misfit):
            return load_models(filenames, *args, **kwargs)

    checkpoint_utils.load_model_ensemble_and_task = load_models_that_fit


@contextlib.contextmanager
def _saying_what_is_wrong(sentence: str) -> Iterator[None]:
    """Turns what fairseq and PyTorch make of a checkpoint with other content into one sentence."""
    try:
        yield
    except IkdError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise IkdError(
            f"{sentence}: take another checkpoint, or train it again with this version ({reason})"
        ) from error


def check_dictionaries() -> None:
    """Holds every dictionary that fairseq reads against :func:`check_dictionary` first."""
    from fairseq.data import Dictionary

    add_from_file = Dictionary.add_from_file

    @functools.wraps(add_from_file)
    def add_checked(self, f):
        plain = type(self)._load_meta is Dictionary._load_meta  # others begin with lines of their own
        if isinstance(f, str) and os.path.exists(f) and plain:
            check_dictionary(f, self.indices)
        return add_from_file(self, f)

    Dictionary.add_from_file = add_checked


def broadcast_objects_by_torch() -> None:
    """Lets several workers resume: worker 0 reads the checkpoint and hands it to the others.

    fairseq serialises it with ``torch.save``, and since PyTorch 2.6 ``torch.load`` refuses the configuration
    in it. What one worker of a job sends to another is as trustworthy as their common code, so PyTorch's own
    way of sending objects, by pickle, does.
    """
    import torch
    from fairseq.distributed import utils

    def broadcast(obj, src_rank, group, dist_device):
        box = [obj]
        torch.distributed.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
        return box[0]

    utils._broadcast_object_slow = broadcast


def end_loading_at_exit() -> None:
    """Ends the threads that load batches ahead before Python ends.

    fairseq's are daemons, and a run that ends within an epoch leaves one at work. Python stops such a thread
    where it next asks for the interpreter; if that is in PyTorch's C++, the whole process aborts (exit status
    134, "terminate called without an active exception"), although the training was done.
    """
    from fairseq.data.iterators import BackgroundConsumer

    def end() -> None:
        for thread in threading.enumerate():
            if isinstance(thread, BackgroundConsumer):
                thread._max_len = 0  # the batch that it is at is its last
                while thread.is_alive():
                    with contextlib.suppress(queue.Empty):
                        thread._queue.get(timeout=0.1)  # it may be waiting for room

    atexit.register(end)


def undo_debug_logging() -> None:
    """Puts the root logger's level back to what fairseq's commands mean it to be.

    ``fairseq.models.wav2vec.wav2vec2_classification`` of 0.12.3 sets it to DEBUG when imported, which makes
    hydra, Pillow and matplotlib print lines that nobody asked for.
    """
    root = logging.getLogger()
    if root.level == logging.DEBUG:
        root.setLevel(os.environ.get("LOGLEVEL", "INFO").upper())


@functools.cache
def apply() -> None:
    """Checks fairseq and applies every adjustment, once."""
    require_fairseq()
    undo_debug_logging()
    register_safe_globals()
    copy_checkpoints_atomically()
    tell_of_unwritten_checkpoints()
    refuse_unsafe_checkpoints()
    check_dictionaries()
    broadcast_objects_by_torch()
    end_loading_at_exit()
