"""Learning curves as line charts: where everything stands. ``charts.html.j2`` draws them as SVG.

Colours are those of the page's style sheet: legible light, dark and printed. Lines differ in colour and in
dashes. Text is text: it can be selected, searched and read out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..comparison import Systems
from ..curves import TERMS, TRAIN, VALID, Curves, read_curves

DASHES = (None, "7 4", "2 3", "9 3 2 3", "5 2", "12 4", "4 4 1 4", "1 5")  # as many as the sheet has colours

LEFT, RIGHT, TOP, BOTTOM = 46, 358, 10, 200  # where the axes end, in a picture of 380 x 240


class Line(NamedTuple):
    """A line of a chart."""

    points: Sequence[tuple[float, float]]  # x and y, at least one
    series: int  # lines of the same series look alike
    faint: bool = False  # drawn thin, as something that stands in the background

    @property
    def looks(self) -> str:
        """Its attributes in SVG: classes of the style sheet, and dashes."""
        number = self.series % len(DASHES)
        dashes = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
        return f'class="line series-{number}{" faint" if self.faint else ""}"{dashes}'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from *low* to *high*, at most six and one of them at least where low < high."""
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    steps = (magnitude * factor for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if step >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


class Chart(NamedTuple):
    """What ``charts.html.j2`` draws, in units of the picture from its upper left corner."""

    label: str  # what a reader who does not see the chart is told
    x_label: str  # what the horizontal axis shows
    x_ticks: list[tuple[float, str]]  # places and what stands there
    y_ticks: list[tuple[float, str]]
    lines: list[Line]  # with places as points, later ones on top


def line_chart(label: str, lines: Sequence[Line], x_label: str) -> Chart:
    """A chart of *lines*, of which there is one at least. See :class:`Chart`."""
    left, right = _range([x for line in lines for x, _ in line.points], margin=0)
    low, high = _range([y for line in lines for _, y in line.points], margin=0.04)

    def across(x: float) -> float:
        return round(LEFT + (x - left) / (right - left) * (RIGHT - LEFT), 1)

    def down(y: float) -> float:
        return round(TOP + (high - y) / (high - low) * (BOTTOM - TOP), 1)

    return Chart(
        label,
        x_label,
        [(across(x), f"{x:,.10g}") for x in ticks(left, right)],
        [(down(y), f"{y:g}") for y in ticks(low, high)],
        [line._replace(points=[(across(x), down(y)) for x, y in line.points]) for line in lines],
    )


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """From the least to the greatest of *values*, widened by a share of that, and never empty."""
    low, high = min(values), max(values)
    room = (high - low) * margin or (0 if high > low else abs(high) or 1)
    return low - room, high + room


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
        {
            run: (max(curve[-1][0] for curve in own.values()), {term: own[term][-1][1] for term in own})
            for run, own in validated.items()
        },
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
