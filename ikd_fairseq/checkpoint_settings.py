"""The settings in a checkpoint, plain strings, held against what they may say before anything is built.

fairseq builds whatever model, task, criterion and BPE a checkpoint names, and hands some of its strings to
``eval``.
"""

import ast
import contextlib
import os
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from .errors import check

# Of fairseq's own models, tasks and criterions, the modules whose classes a checkpoint may name. Others hand
# strings of their settings to eval().
TRANSLATES = {
    "model": ("fairseq.models.transformer.",),
    "task": ("fairseq.tasks.translation.",),
    "criterion": (
        "fairseq.criterions.label_smoothed_cross_entropy.",
        "fairseq.criterions.cross_entropy.",
        "fairseq.criterions.adaptive_loss.",
    ),
}
# So do these options (how their names end), which are meant to be lists, pairs and dictionaries.
_EVALUATED = (
    "adaptive_softmax_cutoff",
    "xformers_att_config",
    "betas",
    "adafactor_eps",
    "_balance",
    "_devices",
)
# These name files that decoding would read, and training settings have no use for.
_FILES_OF_DECODING = ("replace_unk", "lm_path")
_FAIRSEQS_OWN = "https://dl.fbaipublicfiles.com/"
_OF_SUBWORDS = ("bpe", "gpt2", "sentencepiece", "moses", "bert", "vocab")  # how options begin


def check_settings(state: Any, path: str | os.PathLike) -> None:
    """Refuses a checkpoint whose settings, plain strings, would run code when fairseq builds what they name.

    What is not fairseq's own is this plugin's, or code that the user has loaded.

    Raises:
        IkdError: it names a model, task or criterion that is none of translation, a tokenizer or BPE that
            nobody knows, a file or an address to be read, or holds an expression.
    """
    settings, args = state.get("cfg") or {}, state.get("args")
    damaged = f"checkpoint {path} is refused: its settings"
    check(isinstance(settings, dict) and isinstance(args, Namespace | None), f"{damaged} are damaged")
    for kind, registry in _registries().items():
        section = settings.get(kind) or {} if args is None else args
        section = vars(section) if isinstance(section, Namespace) else section
        check(isinstance(section, dict), f"{damaged} of the {kind} are damaged")
        name = section.get("_name") if args is None else section.get(kind)
        name = section.get("arch") if name is None and kind == "model" else name
        if kind in TRANSLATES:
            _check_translates(kind, name, registry, bool(section), path)
            continue
        known = name is None or str(name) in registry
        check(known, f"{damaged} name the {kind} {name!r}, which is not known (nothing of it was run)")
    for option, value in _strings(settings if args is None else vars(args)):
        runs = option.endswith(_EVALUATED) and not _is_literal(value)
        check(
            not runs,
            f"checkpoint {path} is refused: fairseq would run its option {option}, {value!r}, as code "
            "(nothing of it was run)",
        )
        fetched = "://" in value and not value.startswith(_FAIRSEQS_OWN) and option.startswith(_OF_SUBWORDS)
        check(
            not (fetched or (option in _FILES_OF_DECODING and value)),
            f"checkpoint {path} is refused: fairseq would read what its option {option} names, {value!r} "
            "(nothing was read); give such an option yourself",
        )


def _registries() -> dict[str, dict[str, Any]]:
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_REGISTRY

    subwords = {kind: REGISTRIES[kind]["registry"] for kind in ("tokenizer", "bpe")}
    return {"model": ARCH_MODEL_REGISTRY, "task": TASK_REGISTRY, "criterion": CRITERION_REGISTRY, **subwords}


def _check_translates(kind: str, name: Any, registry: dict[str, Any], given: bool, path: Any) -> None:
    origin = getattr(registry.get(str(name)), "__module__", "fairseq.")
    known = not origin.startswith("fairseq.") or f"{origin}.".startswith(TRANSLATES[kind])
    check(
        known or not given or (name is None and kind == "criterion"),
        f"checkpoint {path} is refused: its {kind} is {name!r}, and only translation by this plugin or "
        "by fairseq's Transformer is loaded (nothing of it was run)",
    )


def _strings(section: Any, option: str = "") -> Iterator[tuple[str, str]]:
    """Every string in *section*, however deep, with the name of the option that it is, or is a part, of."""
    section = vars(section) if isinstance(section, Namespace) else section
    if isinstance(section, dict):
        for name, value in section.items():
            yield from _strings(value, str(name))
    elif isinstance(section, list | tuple):
        for value in section:
            yield from _strings(value, option)
    elif isinstance(section, str):
        yield option, section


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
    named = vars(model) if isinstance(model, Namespace) else model or {}
    preset = MODEL_DATACLASS_REGISTRY.get(str(named.get("_name") or named.get("arch")))
    wanted = {name: value for name, value in (overrides or {}).items() if hasattr(preset, name)}
    missing = {**getattr(preset, "before", {}), **wanted}
    with open_dict(named) if isinstance(named, DictConfig) else contextlib.nullcontext():
        named.update({name: value for name, value in missing.items() if name not in named})


def check_history(state: dict[str, Any], refused: str) -> None:
    """Refuses a checkpoint that does not say in numbers how many updates it has had; *refused* names it.

    Raises:
        IkdError: naming the entry.
    """
    history = state.get("optimizer_history", [])
    counted = isinstance(history, list) and all(
        isinstance(one, dict) and type(one.get("num_updates", 0)) is int for one in history
    )
    check(counted, f"{refused}: its entry 'optimizer_history' is malformed")
