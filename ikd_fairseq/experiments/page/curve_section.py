"""Learning curves: a chart a term of the loss, and the last values in a table."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .charts import Chart, Line, line_chart
from .runs import Systems
from .training_log import TERMS, TRAIN, VALID, TrainingLog


class Curves(NamedTuple):
    """What ``curves.html.j2`` shows.

    Attributes:
        terms: of the losses, and what they are called.
        charts: by term.
        legend: a line that looks like those of the system, by its name.
        last: run, updates, and the last value of every term, None where there is none.
        missing: runs without curves.
    """

    terms: dict[str, str]
    charts: dict[str, Chart]
    legend: dict[str, Line]
    last: list[tuple[str, int, list[float | None]]]
    missing: list[str]


def find_curves(systems: Systems) -> Curves:
    """The curves of *systems*, runs by system."""
    logs: dict[str, dict[str, TrainingLog]] = {
        name: {run.name: run.log for run in own if run.log and run.log.curves[VALID]}
        for name, own in systems.items()
    }
    terms = _terms(log for own in logs.values() for log in own.values())
    return Curves(
        terms,
        {term: _chart(term, title, logs) for term, title in terms.items()},
        {name: Line([], series) for series, name in enumerate(systems)},
        [(name, log.updates, _last(log, terms)) for own in logs.values() for name, log in own.items()],
        [run.name for name, own in systems.items() for run in own if run.name not in logs[name]],
    )


def _terms(logs: Iterable[TrainingLog]) -> dict[str, str]:
    """All terms that are validated, known ones first."""
    found = dict.fromkeys(name for log in logs for name in log.curves[VALID])
    known = {name: title for name, title in TERMS.items() if name in found}
    return {**known, **{name: name for name in found if name not in TERMS}}


def _chart(term: str, title: str, logs: Mapping[str, Mapping[str, TrainingLog]]) -> Chart:
    lines, ends = [], []
    for series, (name, own) in enumerate(logs.items()):
        for log in own.values():
            if term in log.curves[TRAIN]:
                lines.append(Line(log.curves[TRAIN][term], series, faint=True))
            if term in log.curves[VALID]:
                curve = log.curves[VALID][term]
                lines.append(Line(curve, series))
                ends.append(f"{name} from {curve[0][1]:g} to {curve[-1][1]:g}")
    lines.sort(key=lambda line: not line.faint)  # what is faint lies below
    return line_chart(f"{title}, over updates, in validation: {'; '.join(ends)}", lines, "updates")


def _last(log: TrainingLog, terms: Iterable[str]) -> list[float | None]:
    curves = (log.curves[VALID].get(term) for term in terms)
    return [curve[-1][1] if curve else None for curve in curves]
