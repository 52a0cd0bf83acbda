"""What a reader must know of a table, in sentences below it."""

from collections.abc import Mapping, Sequence

from ..evaluation.significance import TESTS
from .budget import tokens_an_update
from .columns import ORIGINAL, TEXTS
from .comparison import TEST
from .record import Record
from .systems import System


def budget_notes(runs: Sequence[Record], systems: Mapping[str, System]) -> list[str]:
    """Budget and data of the runs, and the options of single systems."""
    notes = []
    first = next((run for run in runs if run.options and run.model), None)
    if first is not None:
        updates = first.options.get("optimization", {}).get("max_update")
        tokens = tokens_an_update(first)
        notes.append(
            f"At most {updates} updates of {tokens} tokens, mean of the last {first.model['averaged']} "
            "epochs (of all if there were fewer)."
        )
    cnns = dict.fromkeys(run.options.get("model", {}).get("backbone") for run in runs if run.images != "none")
    named = [str(cnn) for cnn in cnns if cnn]
    if named:
        notes.append(f"CNN: {', '.join(named)}.")
    notes += _data_notes(runs)
    for name in dict.fromkeys(run.system for run in runs):
        if name in systems and systems[name].own_options:
            notes.append(f"{systems[name].title}: `{' '.join(systems[name].own_options)}`.")
    return notes


def _data_notes(runs: Sequence[Record]) -> list[str]:
    notes = {}
    for run in runs:
        train = run.data.get("splits", {}).get("train", {})
        if train and run.pair not in notes:
            images = train.get("sentences_with_image")
            size = f", images of {train['image_size']} px for {images:,} of them" if images else ""
            notes[run.pair] = f"{run.pair}: {train['sentences']:,} sentences to train on{size}."
    return list(notes.values())


def unfinished_note(runs: Sequence[Record], systems: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Which planned runs are missing."""
    done = {(run.system, run.seed) for run in runs}
    missing = [f"{name}-seed{seed}" for name in systems for seed in seeds if (name, seed) not in done]
    return [f"Not finished, and not counted: {', '.join(missing)}."] if missing else []


def figure_notes(
    runs: Sequence[Record], metrics: Sequence[str], tested: bool, trials: int | None = None
) -> list[str]:
    """Signatures, what ± and marks mean, and which systems have no deviation."""
    notes = []
    found = {
        key: metric
        for run in runs
        for scores in run.scores.values()
        for score in scores
        for key, metric in score.metrics.items()
        if key in metrics
    }
    notes += [f"{found[key].name}: `{found[key].signature}`." for key in metrics if key in found]
    if "meteor" in metrics and "meteor" not in found:
        notes.append("No METEOR: the runs were scored without it (it needs Java and its jar, METEOR_JAR).")
    seeds: dict[tuple[str, str, str], int] = {}
    for run in runs:
        place = run.pair, run.labels.get("text", ORIGINAL), run.system
        seeds[place] = seeds.get(place, 0) + 1
    if any(count > 1 for count in seeds.values()):
        notes.append("Mean ± standard deviation of the sample over seeds.")
    single = dict.fromkeys(name for (_, _, name), count in seeds.items() if count == 1)
    if single:
        which = "Every system" if len(single) == len({name for _, _, name in seeds}) else ", ".join(single)
        notes.append(f"{which}: one run, so there is no deviation, and small differences mean nothing.")
    if tested:
        notes.append(
            "†/‡: for every seed, differs from the baseline of that seed with p < 0.05/0.01, better or "
            f"worse, always in the same direction (sacreBLEU's {TESTS[TEST].title}, "
            f"{trials or TESTS[TEST].trials:,} {TESTS[TEST].trial_name})."
        )
    return notes


def text_notes(runs: Sequence[Record]) -> list[str]:
    """What differs between source texts, and what share of the words was masked."""
    notes = [
        f"In brackets the difference from the same system on the original text, {TEXTS[ORIGINAL]}; words are "
        "masked in training and test alike."
    ]
    for text, title in TEXTS.items():
        masked = next(
            (run.data["masked"] for run in runs if run.labels.get("text") == text and "masked" in run.data),
            None,
        )
        if masked:
            splits = ", ".join(f"{split['split']} {split['percent']:.2f} %" for split in masked["splits"])
            notes.append(f"{title}: {text} words masked by {masked['token']}: {splits}.")
    return notes
