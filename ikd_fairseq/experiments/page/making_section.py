"""How it was made: data, seeds, updates and options, from the training logs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .document import ABSENT, Section
from .markup import Html, join, table, tag
from .runs import Run, Systems

# Options that are always shown; of the others those that differ between systems.
OPTIONS = {
    "model._name": "architecture",
    "criterion._name": "criterion",
    "criterion.label_smoothing": "label smoothing",
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
_OF_A_RUN = {
    "save_dir",
    "tensorboard_logdir",
    "seed",
    "distributed_init_method",
    "distributed_port",
    "device_id",
}

_INTRODUCTION = (
    "Read from the training logs. Where runs of a system differ, all their values are given. The logs keep "
    "options, of the latest start, and no command lines."
)


def making_section(systems: Systems, splits: Sequence[str]) -> Section:
    """The section.

    Args:
        systems: runs by system.
        splits: whose scores are on the page.
    """
    facts = {name: _facts(own) for name, own in systems.items()}
    rows = _compare(facts, {label: label for own in facts.values() for label in own})
    content = [tag("p", _INTRODUCTION), table("data", "Data and training", ["", *systems], rows)]

    options = {name: _options(own) for name, own in systems.items()}
    rows = _compare(options, _labels(options))
    if rows:
        caption = "Options: the main ones, and all that differ between systems"
        content.append(table("options", caption, ["", *systems], rows))
    for place, (name, own) in enumerate(options.items()):
        if own:
            rows = [[tag("code", key), value] for key, value in sorted(own.items())]
            every = table(f"options-{place}", f"Options of {name}", ["option", "value"], rows)
            content.append(tag("details", tag("summary", f"All options of {name}"), every))
    unknown = ", ".join(name for name, own in options.items() if not own)
    if unknown:
        content.append(tag("p", f"The options of {unknown} are not known: no train.log has them."))
    content += [part for own in systems.values() for run in own for part in _notes(run)]
    content.append(tag("p", _scoring(systems, splits)))
    return Section("making", "How it was made", join(content))


def _facts(runs: Sequence[Run]) -> dict[str, str]:
    """What is known of the runs of a system, by label."""
    logs = [run.log for run in runs if run.log]
    facts = {
        "folder": _distinct(run.folder for run in runs),
        "seed": _distinct(map(_seed, runs)),
        "began": _distinct(log.began for log in logs),
        "starts": _distinct(log.starts or None for log in logs),
        "updates": _distinct(f"{log.updates:,}" for log in logs if log.updates),
        # After an interruption the clock of the log starts anew.
        "time": _distinct(_time(log.seconds) for log in logs if log.seconds and log.starts == 1),
    }
    for label in dict.fromkeys(label for log in logs for label in log.facts):
        facts[label] = _distinct(log.facts.get(label) for log in logs)
    return {label: value for label, value in facts.items() if value}


def _options(runs: Sequence[Run]) -> dict[str, str]:
    """Options of the runs of a system, by "section.name"."""
    every: dict[str, list[str]] = {}
    for run in runs:
        for section, options in (run.log.options if run.log else {}).items():
            for name, value in options.items():
                if (name, value) != ("_name", None):  # sections of which there is only one kind
                    shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
                    every.setdefault(f"{section}.{name}", []).append(shown)
    return {key: _distinct(map(str, values)) for key, values in every.items()}


def _labels(options: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What to call the options that are compared: main ones, and those that differ between systems."""
    every = {key for own in options.values() for key in own}
    labels: dict[str, Any] = {key: label for key, label in OPTIONS.items() if key in every}
    for key in sorted(every - OPTIONS.keys()):
        differs = len({own.get(key) for own in options.values()}) > 1
        if differs and key.rpartition(".")[2] not in _OF_A_RUN:
            labels[key] = tag("code", key)
    return labels


def _compare(values: Mapping[str, Mapping[str, str]], labels: Mapping[str, Any]) -> list[list[Any]]:
    """A row a label: the value of each system."""
    return [[label, *(own.get(key, ABSENT) for own in values.values())] for key, label in labels.items()]


def _notes(run: Run) -> list[Html]:
    """Files beside a run that say how it was made."""
    return [
        part
        for file, text in run.notes.items()
        for part in (tag("h3", f"{run.name}/{file}"), tag("pre", text.strip()))
    ]


def _scoring(systems: Systems, splits: Sequence[str]) -> str:
    runs = [run for own in systems.values() for run in own]
    scores = [run.scores[split] for run in runs for split in splits if split in run.scores]
    references = _distinct(score.settings["references"] for score in scores)
    presets = _distinct(score.preset for score in scores)
    references = references or "the T- lines of the translations"
    return f"Scored by ikd-score --preset {presets}, against {references}."


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _seed(run: Run) -> int | None:
    logged = run.log.options.get("common", {}).get("seed") if run.log else None
    return run.seed if logged is None else logged


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
