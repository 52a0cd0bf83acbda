"""Columns of tables over runs: a kind of column is a function that fills cells from records."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import IkdError, check
from ..evaluation.significance import Outcome
from .comparison import Scores, Systems, compare_systems, read_translations
from .record import ALL, Group, Record, Score
from .table import Cell, Column

ORIGINAL = "original"
TEXTS = {ORIGINAL: "D", "colour": "D_C", "entity": "D_E"}  # source texts, as Peng et al. 2022 call them
TEACHER = "teacher"

Filled = list[tuple[Column, dict[str, Cell]]]  # a column, and its cells by system


@dataclass(frozen=True)
class View:
    """What a table shows.

    Attributes:
        systems: finished runs by system, and with several texts by "SYSTEM TEXT".
        splits: test sets.
        group: which of their sentences.
        metrics: keys of those that have columns.
        baseline: the system that others are compared with.
        trials: resamples of the significance test.
    """

    systems: Systems
    splits: Sequence[str]
    group: Group = ALL
    metrics: Sequence[str] = ("bleu",)
    baseline: str | None = None
    trials: int | None = None

    def compare(self, beam: int | None = None, trials: int | None = 0) -> Scores:
        return compare_systems(self.systems, self.splits, self.baseline, self.group, beam, trials)

    def outcomes(self, found: Scores, metric: str, split: str) -> dict[str, Outcome]:
        """By system, as far as every run of it was scored."""
        outcomes = {system: found.outcomes.get((metric, system, split)) for system in self.systems}
        return {
            system: outcome
            for system, outcome in outcomes.items()
            if outcome is not None and len(outcome.scores) == len(self.systems[system])
        }


def score_cell(outcome: Outcome) -> Cell:
    """E.g. ``41.28 ± 0.30†``; the mark needs a tested pair for every run."""
    mark = outcome.mark if len(outcome.p_values) == len(outcome.scores) else ""
    return mean_cell(outcome.scores, difference=outcome.difference, mark=mark)


def mean_cell(
    values: Sequence[float],
    write: Callable[[float], str] = "{:.2f}".format,
    difference: float | None = None,
    mark: str = "",
) -> Cell:
    """The mean, and where there are several values the deviation of the sample."""
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    text = write(mean) + ("" if deviation is None else f" ± {write(deviation)}") + mark
    return Cell(text, f"{mean:.10g}", deviation, difference, mark)


# ---- scores ------------------------------------------------------------------------------------------------


def scores(view: View) -> Filled:
    """Every metric on every test set, marked where it differs from the baseline, seed by seed."""
    return _of_scores(view, view.compare(trials=view.trials))


def plain_scores(view: View) -> Filled:
    """The same, not tested."""
    return _of_scores(view, view.compare())


def _of_scores(view: View, found: Scores) -> Filled:
    columns = []
    for metric in (metric for metric in view.metrics if metric in found.names):
        for split in found.sentences:
            count = found.sentences[split].count
            name = found.names[metric]
            outcomes = view.outcomes(found, metric, split)
            cells = {system: score_cell(outcome) for system, outcome in outcomes.items()}
            columns.append((Column(f"{name} {split} ({count:,})", name, split, count), cells))
    return columns


def average(view: View) -> Filled:
    """The average over test sets, or over what there is, and its difference from the baseline's."""
    found = view.compare()
    splits = [split for split in found.sentences if split.startswith("test")] or list(found.sentences)
    columns: Filled = []
    for metric in (metric for metric in view.metrics if metric in found.names):
        by_split = [view.outcomes(found, metric, split) for split in splits]
        values = {
            system: [statistics.mean(own) for own in zip(*(outcomes[system].scores for outcomes in by_split))]
            for system in view.systems
            if all(system in outcomes for outcomes in by_split)
        }
        name = found.names[metric]
        theirs = statistics.mean(values[view.baseline]) if view.baseline in values else None
        differences = {
            system: statistics.mean(own) - theirs
            for system, own in values.items()
            if theirs is not None and system != view.baseline
        }
        cells = {system: mean_cell(own, difference=differences.get(system)) for system, own in values.items()}
        columns.append((Column("average", name, "average"), cells))
        by_system = {system: Cell(f"{value:+.2f}") for system, value in differences.items()}
        columns.append((Column(f"from {view.baseline}"), by_system))
    return columns


def by_text(view: View) -> Filled:
    """Scores by source text, with differences from the same system on the original one in brackets."""
    found = view.compare()
    columns = []
    names = dict.fromkeys(key.rpartition(" ")[0] for key in view.systems)
    for metric in (metric for metric in view.metrics if metric in found.names):
        outcomes = view.outcomes(found, metric, view.splits[0])
        for text, title in TEXTS.items():
            cells = {}
            for name in names:
                of_text, original = (outcomes.get(f"{name} {one}") for one in (text, ORIGINAL))
                if of_text and original:
                    difference = None if text == ORIGINAL else of_text.mean - original.mean
                    cell = mean_cell(of_text.scores, difference=difference)
                    end = "" if difference is None else f" ({difference:+.2f})"
                    cells[name] = Cell(cell.text + end, cell.exact, cell.deviation, difference)
            count = found.sentences[view.splits[0]].count if view.splits[0] in found.sentences else None
            measure = f"{found.names[metric]} {title}"
            columns.append((Column(measure, measure, view.splits[0], count), cells))
    return columns


# ---- costs -------------------------------------------------------------------------------------------------


def _millions(number: float) -> str:
    return f"{number / 1e6:.2f} M"


def costs(view: View) -> Filled:
    """Size and time of a system, as far as all of its runs tell them."""
    first = {run.folder: _first_score(run, view.splits) for own in view.systems.values() for run in own}

    def speed(run: Record) -> float | None:
        score = first[run.folder]
        return None if score is None else score.sentences_per_second

    def minutes(run: Record) -> float | None:
        seconds = run.steps.get("train", {}).get("seconds")
        return None if seconds is None else seconds / 60

    one_digit = "{:.1f}".format
    return [
        _means(view, "parameters, training", lambda run: run.model.get("parameters"), _millions),
        _means(view, "parameters, translating", lambda run: run.model.get("decoding_parameters"), _millions),
        _means(view, "training, min", minutes, one_digit),
        _means(view, "sentences/s", speed, one_digit),
    ]


def _first_score(run: Record, splits: Sequence[str]) -> Score | None:
    """That of the first test set, of whichever sentences."""
    every = (score for split in splits for score in run.scores.get(split, []))
    return max(every, key=lambda score: score.beam, default=None)


def _means(
    view: View, heading: str, value: Callable[[Record], float | None], write: Callable[[float], str]
) -> tuple[Column, dict[str, Cell]]:
    """A column of means over runs, without deviations, where every run of a system has a value."""
    cells = {}
    for system, own in view.systems.items():
        values = [found for found in map(value, own) if found is not None]
        if values and len(values) == len(own):
            mean = statistics.mean(values)
            cells[system] = Cell(write(mean), f"{mean:.10g}")
    return Column(heading), cells


def seeds(view: View) -> Filled:
    """How many runs a system has."""
    return [(Column("seeds"), {system: Cell(str(len(own))) for system, own in view.systems.items()})]


# ---- distillation ------------------------------------------------------------------------------------------


def distillation(view: View) -> Filled:
    """What Table 1 of Kim and Rush 2016 has, and sizes and speeds.

    "As teacher" is the share of sentences whose greedy translation is, word for word, what the teacher's beam
    search finds. Speeds have in brackets how many times the teacher's that is.
    """
    split = view.splits[0]
    beams = [
        score.beam for own in view.systems.values() for run in own for score in run.scores.get(split, [])
    ]
    columns: Filled = []
    for heading, beam in (("BLEU, greedy", 1), (f"BLEU, beam {max(beams)}", max(beams))):
        found = view.compare(beam)
        outcomes = view.outcomes(found, "bleu", split)
        cells = {system: score_cell(outcome) for system, outcome in outcomes.items()}
        columns.append((Column(heading, heading, split), cells))
    percent = "{:.1f} %".format
    return [
        *columns,
        _means(view, "p(t = ŷ)", lambda run: _times_100(_greedy(run, split).probability), percent),
        (Column("as teacher"), _as_teacher(view, split)),
        (Column("weights"), _weights(view)),
        _means(view, "file", lambda run: run.model.get("megabytes"), "{:.2f} MB".format),
        *_speeds(view),
    ]


def _times_100(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _greedy(run: Record, split: str) -> Score:
    score = run.score(split, beam=1)
    if score is None:
        raise IkdError(f"{run.folder} has no score of {split} by greedy search: BEAM=1 translate.sh makes it")
    return score


def _as_teacher(view: View, split: str) -> dict[str, Cell]:
    teachers = view.systems.get(TEACHER, [])
    best = teachers[0].score(split) if teachers else None
    if best is None:
        return {}
    target, _ = read_translations(teachers[0], best)
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
    for system, own in view.systems.items():
        model = own[0].model
        every, kept = model.get("decoding_parameters"), model.get("decoding_parameters_not_zero")
        if every is not None and kept is not None:
            text = _millions(every) if every == kept else f"{_millions(kept)} not 0"
            cells[system] = Cell(text, str(kept))
    return cells


def _speeds(view: View) -> Filled:
    names = dict.fromkeys(name for own in view.systems.values() for run in own for name in sorted(run.speeds))
    teachers = view.systems.get(TEACHER, [])
    columns = []
    for name in sorted(names, key=_numbers_in):
        theirs = teachers[0].speeds.get(name) if teachers else None
        cells = {}
        for system, own in view.systems.items():
            values = [run.speeds[name] for run in own if name in run.speeds]
            if values:
                mean = statistics.mean(values)
                ratio = f" ({mean / theirs:.1f}x)" if theirs and system != TEACHER else ""
                cells[system] = Cell(f"{mean:.1f}{ratio}", f"{mean:.10g}")
        columns.append((Column(name), cells))
    return columns


def _numbers_in(name: str) -> list[int]:
    return [int(word.strip(",")) for word in name.split() if word.strip(",").isdigit()]


KINDS: Mapping[str, Callable[[View], Filled]] = {
    "scores": scores,
    "plain scores": plain_scores,
    "average": average,
    "by text": by_text,
    "costs": costs,
    "seeds": seeds,
    "distillation": distillation,
}
