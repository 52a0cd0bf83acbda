"""How it was made: data, costs, machine and options, as the records of the runs have them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...io.html import ABSENT
from ..comparison import Systems
from ..record import Record
from ..systems import WHEN

# Options that are always shown; of the others those that differ between systems.
OPTIONS = {
    "model._name": "architecture",
    "criterion._name": "criterion",
    "criterion.label_smoothing": "label smoothing",
    "model.backbone": "CNN",
    "criterion.teacher_weights": "weights of the CNN",
    "task.data": "data folder",
    "dataset.max_tokens": "tokens of a batch, at most",
    "optimization.update_freq": "batches of an update",
    "distributed_training.distributed_world_size": "workers",
    "optimization.max_update": "updates, at most",
    "checkpoint.patience": "patience, in validations",
    "optimizer._name": "optimiser",
    "optimization.lr": "learning rate",
    "lr_scheduler._name": "schedule",
    "lr_scheduler.warmup_updates": "warm-up, in updates",
    "model.dropout": "dropout",
}

# Options that differ between any two runs, and tell nothing.
_OF_A_RUN = "save_dir tensorboard_logdir seed distributed_init_method distributed_port device_id".split()

Row = tuple[str, list[str]]  # what it is of, and a value for each system


class Making(NamedTuple):
    """What ``section_making.html.j2`` shows."""

    facts: list[Row]  # by label
    files: list[Row]  # SHA-256 of the data by file
    compared: list[Row]  # options by "section.name": the main ones, and those that differ between systems
    options: dict[str, list[Row]]  # all of them, by system, with one value each
    unknown: list[str]  # systems whose options are not known


def how_it_was_made(systems: Systems) -> Making:
    """What records say of each system. Where its runs differ, all their values are given."""
    options = {name: _merged(map(_options, own)) for name, own in systems.items()}
    compared = dict(_compare(list(options.values())))
    differ = (key for key in sorted(compared) if key not in OPTIONS and len(set(compared[key])) > 1)
    others = [key for key in differ if key.rpartition(".")[2] not in _OF_A_RUN]
    return Making(
        _compare([_merged(map(_facts, own)) for own in systems.values()]),
        _compare([_merged(map(_files, own)) for own in systems.values()]),
        [(key, compared[key]) for key in (*OPTIONS, *others) if key in compared],
        {name: sorted(_compare([own])) for name, own in options.items() if own},
        [name for name, own in options.items() if not own],
    )


def _facts(run: Record) -> dict[str, Any]:
    training, code = run.steps.get("train", {}), run.code
    facts: dict[str, Any] = {"folder": run.folder, "seed": run.seed, "languages": run.pair}
    facts.update({"images seen": WHEN.get(run.images, run.images), **run.labels})
    for split, own in run.data.get("splits", {}).items():
        facts[split] = f"{own['sentences']:,} sentence pairs"
        if (pictured := own.get("sentences_with_image")) is not None:
            facts[split] += f", {pictured:,} with an image of {own.get('image_size')} px"
    for name, value in run.model.items():
        if isinstance(value, int):
            facts[name.replace("_", " ")] = f"{value:,}"
    facts["updates"] = None if run.updates is None else f"{run.updates:,}"
    facts["stopped by"] = run.stopped_by
    facts["time of training"] = _time(training.get("seconds"))
    kinds = {"peak_memory_mb": "MB", "peak_gpu_memory_mb": "MB on the GPU"}
    memory = [f"{training[key]:,} {unit}" for key, unit in kinds.items() if key in training]
    facts["memory of training"] = memory
    commit = f", commit {code['commit']}" if "commit" in code else ""
    facts["code"] = code and f"{code['version']}{commit}{'' if code.get('clean', True) else ', with changes'}"
    facts["versions"] = [f"{name} {version}" for name, version in run.versions.items()]
    facts["hardware"] = [f"{name}: {_text(value)}" for name, value in run.hardware.items()]
    return facts


def _files(run: Record) -> dict[str, Any]:
    parts = [run.data.get("dictionaries", {})]
    parts += [facts.get("files", {}) for facts in run.data.get("splits", {}).values()]
    return {name: digest for files in parts for name, digest in files.items()}


def _options(run: Record) -> dict[str, Any]:
    return {
        f"{section}.{name}": "None" if value is None else value
        for section, options in run.options.items()
        for name, value in options.items()
        if (name, value) != ("_name", None)  # sections of which there is only one kind
    }


def _merged(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The values of all *runs* by label, each value once, what is unknown left out."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for label, value in run.items():
            if text := _text(value):
                found.setdefault(label, {})[text] = None
    return {label: ", ".join(values) for label, values in found.items()}


def _compare(systems: Sequence[Mapping[str, str]]) -> list[Row]:
    """A row a label that any system has."""
    labels = dict.fromkeys(label for own in systems for label in own)
    return [(label, [own.get(label, ABSENT) for own in systems]) for label in labels]


def _text(value: Any) -> str:
    """Of None and of what is empty, nothing."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None or value == {} else str(value)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
