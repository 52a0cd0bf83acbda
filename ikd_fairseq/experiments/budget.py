"""Which runs may stand in one table: planned and finished ones, made from one text, by one budget."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import check
from .plan import ORIGINAL, TEXTS, Place
from .record import Record
from .systems import System

logger = logging.getLogger(__name__)

# Options that an architecture gives: a variant with an own --arch may differ in them.
SIZES = ("dropout",) + tuple(
    f"{part}_{size}"
    for part in ("encoder", "decoder")
    for size in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
)

# What runs whose figures compare have in common, by section of the options. Own options may differ.
PROTOCOL = {
    "max_update": "optimization",
    "lr": "optimization",
    "lr_scheduler": "lr_scheduler",
    "warmup_updates": "lr_scheduler",
    "label_smoothing": "criterion",
    "patience": "checkpoint",
    "backbone": "model",
    **dict.fromkeys(SIZES, "model"),
}

# Sections of options that say how a run learns. Of paths it is compared whether there is one; data and tokens
# an update have checks of their own.
_METHOD = ("model", "task", "criterion", "optimizer", "lr_scheduler", "optimization", "ema")
_BEYOND = {"checkpoint": ("patience", "finetune_from_model")}
_NO_METHOD = ("data", "seed", "cpu", "tpu", "update_freq")


def text_of(run: Record) -> str:
    """The source text that *run* reads."""
    return run.labels.get("text", ORIGINAL)


def place_of(run: Record) -> Place:
    """Where *run* stands in a grid."""
    return Place(run.pair, text_of(run), run.system, run.seed)


def only_planned(runs: Sequence[Record], planned: Collection[Place]) -> list[Record]:
    """Those that stand in a place of a plan; of others the log tells."""
    if others := ", ".join(str(run.folder) for run in runs if place_of(run) not in planned):
        logger.warning("not in the plan, and left out: %s", others)
    return [run for run in runs if place_of(run) in planned]


def test_sets(run: Record) -> list[str]:
    """The test sets that *run* translates: all or, where it needs images, those that have some."""
    splits = run.data.get("splits", {})
    wanted = [name for name in splits if name.startswith("test")] or list(run.scores)
    if run.images == "test":
        wanted = [name for name in wanted if name not in splits or splits[name].get("sentences_with_image")]
    return sorted(wanted)


def is_finished(run: Record, splits: Sequence[str] = ()) -> bool:
    """Whether *run* is scored on *splits*, by default all of its test sets, as far as it translates them."""
    own = test_sets(run)
    wanted = [split for split in splits if run.images != "test" or split in own or split in run.scores] or own
    return bool(wanted) and all(run.scores.get(split) for split in wanted)


def check_budget(runs: Sequence[Record], systems: Mapping[str, System]) -> None:
    """Raises :class:`IkdError` for runs of one pair and text from different data or by different budgets.

    *systems* are those whose own options are known. Of other variants only data and updates are looked at.
    """
    first: dict[tuple[str, str], tuple[Any, Record]] = {}
    for run in runs:
        own = systems[run.system].own_options if run.system in systems else ()
        known = run.system in systems or run.like == run.system
        for name, value in _settings(run).items():
            option = "--arch" if name in SIZES and "--arch" in own else f"--{name.replace('_', '-')}"
            if option in own or (name in PROTOCOL and not known and name != "max_update"):
                continue
            there, other = first.setdefault((text_of(run), name), (value, run))
            check(
                value == there,
                f"{run.folder} was made with {name} {value!r}, but {other.folder} with {there!r}: their "
                "figures do not compare, so make a table of each",
            )


def _settings(run: Record) -> dict[str, Any]:
    """Data and budget, as far as the record tells them."""
    settings: dict[str, Any] = {}
    if run.data:
        files = run.data["splits"].get("train", {}).get("files", {})
        settings["dictionaries"] = run.data["dictionaries"]
        settings["training text"] = {name: files[name] for name in files if ".images." not in name}
        if run.images in ("training", "test"):
            settings["images"] = files.get("train.images.npy")
    if run.model:
        settings["epochs averaged"] = run.model["averaged"]
    if run.options:
        settings["tokens an update"] = tokens_an_update(run)
        for name, section in PROTOCOL.items():
            value = run.options.get(section, {}).get("_name" if name == section else name)
            settings.update({} if value is None else {name: value})
    return settings


def tokens_an_update(run: Record) -> int | None:
    """At most, by all processes together."""
    tokens = run.options.get("dataset", {}).get("max_tokens")
    frequency = (run.options.get("optimization", {}).get("update_freq") or [1])[0]
    workers = run.options.get("distributed_training", {}).get("distributed_world_size") or 1
    return None if tokens is None else int(tokens * frequency * workers)


def unlike_options(runs: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Options in which the methods of *runs*, of one system, differ: by name, which runs have which value.

    What an older run does not know has the value that stands for what was then. Where there are such options
    the commits are told too, if they differ.
    """
    methods = [(run, _method(run)) for run in runs if run.options]
    unlike: dict[str, dict[str, list[Record]]] = {}
    for section, name in dict.fromkeys(key for _, method in methods for key in method):
        values: dict[str, list[Record]] = {}
        for run, method in methods:
            known = (section, name) in method
            value = method[section, name] if known else _earlier(run, section, name)
            values.setdefault(str(value), []).append(run)
        if len(values) > 1:
            unlike[section if name == "_name" else name] = values
    commits: dict[str, list[Record]] = {}
    for run in runs if unlike else ():
        commits.setdefault(str(run.code.get("commit"))[:7], []).append(run)
    return {**unlike, "commit": commits} if len(commits) > 1 else unlike


def _method(run: Record) -> dict[tuple[str, str], Any]:
    """The options that say how *run* learns."""
    parts = {section: run.options.get(section, {}) for section in (*_METHOD, *_BEYOND)}
    return {
        (section, name): "a file" if isinstance(value, str) and os.sep in value else value
        for section, options in parts.items()
        for name, value in options.items()
        if name in _BEYOND.get(section, options) and name not in _NO_METHOD
    }


def _earlier(run: Record, section: str, name: str) -> Any:
    from .training_facts import earlier_value  # which needs fairseq

    return earlier_value(run.options, section, name)


def on_every_text(runs: Sequence[Record]) -> list[Record]:
    """Those whose system and seed are there for every source text; of others the log tells.

    Raises :class:`IkdError` if there are none.
    """
    finished: dict[str, set[tuple[str, int | None]]] = {text: set() for text in TEXTS}
    for run in runs:
        finished.setdefault(text_of(run), set()).add((run.system, run.seed))
    everywhere = set.intersection(*(finished[text] for text in TEXTS))
    for system, seed in sorted(set.union(*finished.values()) - everywhere, key=str):
        logger.warning("%s-seed%s is not finished on every text, and left out", system, seed)
    check(bool(everywhere), f"there is no run that is finished on {', '.join(TEXTS)} alike")
    return [run for run in runs if (run.system, run.seed) in everywhere]
