"""Learning curves: a chart a term of the loss, and the last values of each run."""

from collections.abc import Mapping
from typing import NamedTuple

from ..comparison import Systems
from ..curves import TERMS, TRAIN, VALID, Curve, Curves, read_curves
from .charts import Chart, Line, line_chart


class CurveCharts(NamedTuple):
    """What ``section_curves.html.j2`` shows."""

    terms: dict[str, str]  # of the losses, and what they are called
    charts: dict[str, Chart]  # by term
    legend: dict[str, Line]  # a line that looks like those of the system, by its name
    last: dict[str, tuple[int, dict[str, float]]]  # by run: updates, and the last value of every term
    missing: list[str]  # runs without curves


def draw_curves(systems: Systems) -> CurveCharts:
    """The curves of *systems*. Raises :class:`IkdError` where a file is damaged."""
    every = {name: {run.name: read_curves(run.folder) for run in own} for name, own in systems.items()}
    validated = {run: curves[VALID] for own in every.values() for run, curves in own.items() if curves[VALID]}
    found = {term for curves in validated.values() for term in curves}
    others = sorted(found - TERMS.keys())
    terms = {**{term: title for term, title in TERMS.items() if term in found}, **dict(zip(others, others))}
    return CurveCharts(
        terms,
        {term: _chart(term, title, every) for term, title in terms.items()},
        {name: Line([], series) for series, name in enumerate(systems)},
        {run: _last(curves) for run, curves in validated.items()},
        [run for own in every.values() for run in own if run not in validated],
    )


def _chart(term: str, title: str, systems: Mapping[str, Mapping[str, Curves]]) -> Chart:
    lines, ends = [], []
    for series, (name, own) in enumerate(systems.items()):
        for curves in own.values():
            if term in curves[TRAIN]:
                lines.append(Line(curves[TRAIN][term], series, faint=True))
            if term in curves[VALID]:
                curve = curves[VALID][term]
                lines.append(Line(curve, series))
                ends.append(f"{name} from {curve[0][1]:.5g} to {curve[-1][1]:.5g}")
    lines.sort(key=lambda line: not line.faint)  # what is faint lies below
    return line_chart(f"{title}, over updates, in validation: {'; '.join(ends)}", lines, "updates")


def _last(curves: Mapping[str, Curve]) -> tuple[int, dict[str, float]]:
    updates = max(curve[-1][0] for curve in curves.values())
    return updates, {term: curve[-1][1] for term, curve in curves.items()}
