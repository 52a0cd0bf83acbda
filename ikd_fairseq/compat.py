"""The few adjustments that today's Python and PyTorch ask of fairseq 0.12, each with its reason.

Applied once, when the package and fairseq are both imported. None changes what a training run computes.
"""

import argparse
import ast
import contextlib
import functools
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any

from .errors import IkdError, check, reading_checkpoint

SUPPORTED_FAIRSEQ = "0.12."

# Of fairseq's own models, tasks and criterions, the modules whose classes a checkpoint may name. Others hand
# strings of their settings to eval().
TRANSLATES = {
    "model": ("fairseq.models.transformer.",),
    "task": ("fairseq.tasks.translation.",),
    "criterion": ("fairseq.criterions.label_smoothed_cross_entropy.", "fairseq.criterions.cross_entropy."),
}
# So do these options of the Transformer itself, which are meant to be a list and a dictionary.
_EVALUATED = ("adaptive_softmax_cutoff", "xformers_att_config")


def require_fairseq() -> None:
    """Refuses, in one sentence, a missing fairseq or one that this plugin cannot extend.

    Python 3.11 rejects the dataclasses of the original fairseq 0.12.2; the distribution ``fairseq-fixed``
    holds the same code, repaired, under the same import name.
    """
    remedy = (
        "install the plugin with all it needs: pip install ikd-fairseq (or pip install -e . in a checkout)"
    )
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


@functools.cache
def register_safe_globals() -> None:
    """Lets PyTorch's safe loader (``weights_only=True``) read the checkpoints of fairseq.

    A checkpoint's ``args`` entry may be an :class:`argparse.Namespace`, a plain holder of attributes, and
    runs with ``--eval-bleu`` store their n-gram counts as numpy arrays. Turning the safe loader off instead
    would let a checkpoint run code.
    """
    import numpy as np
    import torch

    # How numpy pickles an array and a scalar, and the types of both.
    rebuild_array: Any = np.empty(0).__reduce__()[0]
    rebuild_scalar: Any = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")]
    torch.serialization.add_safe_globals(
        [argparse.Namespace, np.ndarray, np.dtype, rebuild_array, rebuild_scalar, *types]
    )
    # numpy 2 moved both functions; a file written under numpy 1 names the old place, and the other way round.
    for function in (rebuild_array, rebuild_scalar):
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            torch.serialization.add_safe_globals([(function, f"{module}.{function.__name__}")])


def load_safely(path: str | os.PathLike, what: str = "checkpoint") -> Any:
    """Reads a file of ``torch.save`` and runs no code that it may hold. Its tensors are views of the file.

    Raises:
        IkdError: the file is damaged, or holds more than tensors and plain values.
    """
    import torch

    register_safe_globals()
    with reading_checkpoint(path, what):
        # Files of PyTorch < 1.6 are no zip archives and cannot be mapped.
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


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
        shutil.copyfile(src_path, partial)
        os.replace(partial, dst_path)
        return True

    PathManager.copy = staticmethod(copy)


def check_settings(state: Any, path: str | os.PathLike) -> None:
    """Refuses a checkpoint whose settings, plain strings, would run code when fairseq builds what they name.

    What is not fairseq's own is this plugin's, or code that the user has loaded.

    Raises:
        IkdError: it names a model, task or criterion that is none of translation, or holds an expression.
    """
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    settings, args = state.get("cfg") or {}, state.get("args")
    registries = {"model": ARCH_MODEL_REGISTRY, "task": TASK_REGISTRY, "criterion": CRITERION_REGISTRY}
    for kind, registry in registries.items():
        section = settings.get(kind) or {} if args is None else args
        section = vars(section) if isinstance(section, argparse.Namespace) else section
        check(
            isinstance(section, dict), f"checkpoint {path} is refused: its settings of the {kind} are damaged"
        )
        name = section.get("_name") if args is None else section.get(kind)
        name = section.get("arch") if name is None and kind == "model" else name
        origin = getattr(registry.get(str(name)), "__module__", "fairseq.")
        known = not origin.startswith("fairseq.") or f"{origin}.".startswith(TRANSLATES[kind])
        check(
            known or not section or (name is None and kind == "criterion"),
            f"checkpoint {path} is refused: its {kind} is {name!r}, and only translation by this plugin or "
            "by fairseq's Transformer is loaded (nothing of it was run)",
        )
        for option, value in _strings(section):
            check(
                not option.endswith(_EVALUATED) or _is_literal(value),
                f"checkpoint {path} is refused: fairseq would run its option {option}, {value!r}, as code "
                "(nothing of it was run)",
            )


def _strings(section: Any) -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _strings(value)
        elif isinstance(value, str):
            yield str(name), value


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def complete_settings(state: Any, overrides: dict[str, Any] | None = None) -> None:
    """Writes into a checkpoint's settings the options that its preset was given since, as all was before.

    What a checkpoint does not name fairseq takes from the preset that it names, as that is today, and would
    build another model than was trained. *overrides* win; fairseq itself applies them to what is named alone.
    """
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from omegaconf import DictConfig, open_dict

    args, settings = state.get("args"), state.get("cfg") or {}
    model = settings.get("model") if args is None else args
    named = vars(model) if isinstance(model, argparse.Namespace) else model or {}
    preset = MODEL_DATACLASS_REGISTRY.get(str(named.get("_name") or named.get("arch")))
    wanted = {name: value for name, value in (overrides or {}).items() if hasattr(preset, name)}
    missing = {**getattr(preset, "before", {}), **wanted}
    with open_dict(named) if isinstance(named, DictConfig) else contextlib.nullcontext():
        named.update({name: value for name, value in missing.items() if name not in named})


def refuse_unsafe_checkpoints() -> None:
    """Lets fairseq load only what the safe loader reads, with harmless settings; others are named.

    What it loads goes through :func:`complete_settings`.

    PyTorch's own message takes a screen, does not say which file it was, and explains how to switch safety
    off. The look ahead maps the file and reads no tensor.
    """
    from fairseq import checkpoint_utils

    load = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(load)
    def load_if_safe(path, arg_overrides=None, *args, **kwargs):
        if os.path.isfile(path):
            state = load_safely(path)
            if isinstance(state, dict):  # else fairseq says what is wrong
                check_settings(state, path)
        state = load(path, arg_overrides, *args, **kwargs)
        complete_settings(state, arg_overrides)
        return state

    checkpoint_utils.load_checkpoint_to_cpu = load_if_safe


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
    refuse_unsafe_checkpoints()
    broadcast_objects_by_torch()
