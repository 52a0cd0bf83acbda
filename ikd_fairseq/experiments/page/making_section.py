"""How it was made: data, seeds, updates and options, from the training logs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...io.html import ABSENT
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


class Making(NamedTuple):
    """What ``section_making.html.j2`` shows.

    Attributes:
        facts: rows of a label and a value for each system.
        compared: option, its name if it has one, and a value for each system: main options, and those that
            differ between systems.
        options: all of them, by system, in the same form.
        unknown: systems whose options are not known.
        notes: by run and file, texts that say how it was made.
        scoring: how the scores were made.
    """

    facts: list[list[str]]
    compared: list[tuple[str, str | None, list[str]]]
    options: dict[str, list[tuple[str, str | None, list[str]]]]
    unknown: list[str]
    notes: dict[str, str]
    scoring: str


def how_it_was_made(systems: Systems, splits: Sequence[str]) -> Making:
    """Data, seeds, updates and options.

    Args:
        systems: runs by system.
        splits: whose scores are on the page.
    """
    facts = {name: _facts(own) for name, own in systems.items()}
    options = {name: _options(own) for name, own in systems.items()}
    labels = dict.fromkeys(label for own in facts.values() for label in own)
    return Making(
        [[label, *(own.get(label, ABSENT) for own in facts.values())] for label in labels],
        [
            (key, OPTIONS.get(key), [own.get(key, ABSENT) for own in options.values()])
            for key in _compared(options)
        ],
        {name: [(key, None, [own[key]]) for key in sorted(own)] for name, own in options.items() if own},
        [name for name, own in options.items() if not own],
        {
            f"{run.name}/{file}": text.strip()
            for own in systems.values()
            for run in own
            for file, text in run.notes.items()
        },
        _scoring(systems, splits),
    )


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


def _compared(options: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The options that are compared: main ones, and those that differ between systems."""
    every = {key for own in options.values() for key in own}
    differing = (key for key in every if len({own.get(key) for own in options.values()}) > 1)
    others = sorted(key for key in differing if key.rpartition(".")[2] not in _OF_A_RUN)
    return list(dict.fromkeys([*(key for key in OPTIONS if key in every), *others]))


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
