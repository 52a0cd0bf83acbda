"""Columns of tables over runs: a kind of column is a function that fills cells from records."""

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import IkdError, check
from ..evaluation.significance import Outcome
from .comparison import Scores, Systems, compare_systems, read_translations
from .plan import ORIGINAL, TEACHER, TEXTS
from .record import ALL, Group, Record, Score
from .table import Cell, Column

Filled = tuple[Column, dict[str, Cell]]  # a column, and its cells by system


@dataclass(frozen=True)
class View:
    """What one table shows, of what :func:`.tables.make_tables` is asked for."""

    systems: Systems  # finished runs by system, and with several texts by "SYSTEM TEXT"
    splits: Sequence[str]
    group: Group = ALL
    metrics: Sequence[str] = ("bleu",)  # keys of those that have columns
    baseline: str | None = None
    trials: int | None = None  # 0 for no test

    def compare(self, beam: int | None = None, trials: int | None = 0) -> Scores:
        of = (self.systems, self.splits, self.baseline, self.group)
        return compare_systems(*of, beam, trials, self.metrics)

    def named(self, found: Scores) -> list[tuple[str, str]]:
        """Key and name of every metric that has columns and was found."""
        return [(key, found.metrics[key].name) for key in self.metrics if key in found.metrics]

    def outcomes(self, found: Scores, metric: str, split: str) -> dict[str, Outcome]:
        """By system, as far as every run of it was scored."""
        places = {system: (metric, system, split) for system in self.systems}
        outcomes = {name: found.outcomes[place] for name, place in places.items() if place in found.outcomes}
        return {name: one for name, one in outcomes.items() if len(one.scores) == len(self.systems[name])}


def score_cell(outcome: Outcome) -> Cell:
    """E.g. ``41.28 ± 0.30†``."""
    return mean_cell(outcome.scores, difference=outcome.difference, mark=outcome.mark)


def mean_cell(
    values: Sequence[float],
    write: Callable[[float], str] = "{:.2f}".format,
    difference: float | None = None,
    mark: str = "",
    further: str = "",
) -> Cell:
    """The mean, and where there are several values the deviation of the sample; *further* text ends it."""
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    text = write(mean) + ("" if deviation is None else f" ± {write(deviation)}") + mark + further
    return Cell(text, f"{mean:.10g}", deviation, difference, mark)


# ---- scores ------------------------------------------------------------------------------------------------


def scores(view: View) -> Iterator[Filled]:
    """Every metric on every test set, marked where it differs from the baseline, seed by seed."""
    found = view.compare(trials=view.trials)
    for metric, name in view.named(found):
        for split, sentences in found.sentences.items():
            outcomes = view.outcomes(found, metric, split)
            column = Column(f"{name} {split} ({sentences.count:,})", name, split, sentences.count)
            yield column, {system: score_cell(outcome) for system, outcome in outcomes.items()}


def average(view: View) -> Iterator[Filled]:
    """The average over test sets, or over what there is, and its difference from the baseline's."""
    found = view.compare()
    splits = [split for split in found.sentences if split.startswith("test")] or list(found.sentences)
    for metric, name in view.named(found):
        by_split = [view.outcomes(found, metric, split) for split in splits]
        values: dict[str, list[float]] = {}
        differences: dict[str, float] = {}
        for system in view.systems:
            own = [outcomes[system] for outcomes in by_split if system in outcomes]
            if len(own) == len(splits):
                values[system] = [statistics.mean(of_run) for of_run in zip(*(one.scores for one in own))]
                paired = [one.difference for one in own if one.difference is not None]
                if len(paired) == len(splits):
                    differences[system] = statistics.mean(paired)
        cells = {system: mean_cell(own, difference=differences.get(system)) for system, own in values.items()}
        of = "" if metric == view.metrics[0] else f", {name}"
        yield Column(f"average{of}", name, "average"), cells
        signed = {system: Cell(f"{value:+.2f}") for system, value in differences.items()}
        yield Column(f"from {view.baseline}{of}"), signed


def by_text(view: View) -> Iterator[Filled]:
    """Scores by source text, with differences from the same system on the original one in brackets."""
    found = view.compare()
    (split,) = view.splits
    names = dict.fromkeys(key.rpartition(" ")[0] for key in view.systems)
    for metric, measure in view.named(found):
        outcomes = view.outcomes(found, metric, split)
        for text, title in TEXTS.items():
            cells = {}
            for name in names:
                own, original = (outcomes.get(f"{name} {one}") for one in (text, ORIGINAL))
                if own and original:
                    difference = None if text == ORIGINAL else own.mean - original.mean
                    further = "" if difference is None else f" ({difference:+.2f})"
                    cells[name] = mean_cell(own.scores, difference=difference, further=further)
            heading = f"{measure} {title}"
            yield Column(heading, heading, split, found.sentences[split].count), cells


# ---- costs -------------------------------------------------------------------------------------------------


def _millions(number: float) -> str:
    return f"{number / 1e6:.2f} M"


def _means(
    view: View,
    heading: str,
    value: Callable[[Record], float | None],
    write: Callable[[float], str] = "{:.1f}".format,
    times: float = 1,
) -> Filled:
    """A column of means over runs, without deviations, where every run of a system has a value."""
    cells = {}
    for system, own in view.systems.items():
        values = [found for found in map(value, own) if found is not None]
        if values and len(values) == len(own):
            mean = statistics.mean(values) * times
            cells[system] = Cell(write(mean), f"{mean:.10g}")
    return Column(heading), cells


def _of_model(key: str) -> Callable[[Record], Any]:
    return lambda run: run.model.get(key)


def costs(view: View) -> list[Filled]:
    """Size and time of a system, as far as all of its runs tell them."""

    def speed(run: Record) -> float | None:
        """On the first test set, of whichever sentences."""
        every = (score for split in view.splits for score in run.scores.get(split, []))
        score = max(every, key=lambda score: score.beam, default=None)
        return score.sentences_per_second if score else None

    return [
        _means(view, "parameters, training", _of_model("parameters"), _millions),
        _means(view, "parameters, translating", _of_model("decoding_parameters"), _millions),
        _means(view, "training, min", lambda run: run.steps.get("train", {}).get("seconds"), times=1 / 60),
        _means(view, "sentences/s", speed),
    ]


def seeds(view: View) -> list[Filled]:
    """How many runs a system has."""
    return [(Column("seeds"), {system: Cell(str(len(own))) for system, own in view.systems.items()})]


# ---- distillation ------------------------------------------------------------------------------------------


def distillation(view: View) -> Iterator[Filled]:
    """What Table 1 of Kim and Rush 2016 has, and sizes and speeds.

    "As teacher" is the share of sentences whose greedy translation is, word for word, what the teacher's beam
    search finds. Speeds have in brackets how many times the teacher's that is.
    """
    split = view.splits[0]
    runs = [run for own in view.systems.values() for run in own]
    widest = max(score.beam for run in runs for score in run.scores.get(split, []))
    for heading, beam in (("BLEU, greedy", 1), (f"BLEU, beam {widest}", widest)):
        outcomes = view.outcomes(view.compare(beam), "bleu", split)
        cells = {system: score_cell(outcome) for system, outcome in outcomes.items()}
        yield Column(heading, heading, split), cells
    yield _means(view, "p(t = ŷ)", lambda run: _greedy(run, split).probability, "{:.1f} %".format, times=100)
    yield Column("as teacher"), _as_teacher(view, split)
    yield Column("weights"), _weights(view)
    yield _means(view, "file", _of_model("megabytes"), "{:.2f} MB".format)
    yield from _speeds(view)


def _greedy(run: Record, split: str) -> Score:
    score = run.score(split, beam=1)
    if score is None:
        raise IkdError(f"{run.folder} has no score of {split} by greedy search: BEAM=1 translate.sh makes it")
    return score


def _as_teacher(view: View, split: str) -> dict[str, Cell]:
    teacher = view.systems.get(TEACHER)
    best = teacher and teacher[0].score(split)
    if not teacher or not best:
        return {}
    target, _ = read_translations(teacher[0], best)
    cells = {}
    for system, own in view.systems.items():
        shares = []
        for run in own:
            lines, _ = read_translations(run, _greedy(run, split))
            check(len(lines) == len(target), f"{run.folder} and its teacher translated different sentences")
            shares.append(100 * sum(map(str.__eq__, lines, target)) / len(target))
        cells[system] = mean_cell(shares, "{:.1f} %".format)
    return cells


def _weights(view: View) -> dict[str, Cell]:
    """Those that decoding needs or, where some are zero, those that are not."""
    cells = {}
    for system, (run, *_) in view.systems.items():
        every, kept = (run.model.get(f"decoding_parameters{end}") for end in ("", "_not_zero"))
        if every is not None and kept is not None:
            cells[system] = Cell(_millions(kept) + ("" if every == kept else " not 0"), str(kept))
    return cells


def _speeds(view: View) -> Iterator[Filled]:
    names = {name for own in view.systems.values() for run in own for name in run.speeds}
    teachers = view.systems.get(TEACHER, [])
    for name in sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        theirs = teachers[0].speeds.get(name) if teachers else None
        cells = {}
        for system, own in view.systems.items():
            if values := [run.speeds[name] for run in own if name in run.speeds]:
                mean = statistics.mean(values)
                ratio = f" ({mean / theirs:.1f}x)" if theirs and system != TEACHER else ""
                cells[system] = Cell(f"{mean:.1f}{ratio}", f"{mean:.10g}")
        yield Column(name), cells
