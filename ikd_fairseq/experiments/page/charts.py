"""Line charts as SVG that takes its colours from the page's style sheet: legible light, dark and printed.

Lines differ in colour and in dashes. Text is text: it can be selected, searched and read out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from .markup import Html, join, tag

DASHES = (None, "7 4", "2 3", "9 3 2 3", "5 2", "12 4", "4 4 1 4", "1 5")  # as many as the sheet has colours

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 22, 10, 40


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        points: x and y, at least one.
        series: lines of the same series look alike.
        faint: drawn thin, as something that stands in the background.
    """

    points: Sequence[tuple[float, float]]
    series: int
    faint: bool = False


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from *low* to *high*, at most *most* and one of them at least where low < high."""
    rough = (high - low) / (most - 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    steps = (magnitude * factor for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if step >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def line_chart(label: str, lines: Sequence[Line], x_label: str) -> Html:
    """A chart of *lines*, of which there is one at least.

    Args:
        label: what a reader who does not see the chart is told.
        lines: drawn in this order, so that later ones lie on top.
        x_label: what the horizontal axis shows.
    """
    left, right = _range([x for line in lines for x, _ in line.points], margin=0)
    low, high = _range([y for line in lines for _, y in line.points], margin=0.04)

    def across(x: float) -> float:
        return round(_LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT), 1)

    def down(y: float) -> float:
        return round(_TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    bottom, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for y in ticks(low, high):
        parts.append(tag("line", Html(""), x1=_LEFT, x2=end, y1=down(y), y2=down(y), class_="grid"))
        parts.append(tag("text", f"{y:g}", x=_LEFT - 6, y=down(y) + 4, text_anchor="end"))
    for x in ticks(left, right):
        at = across(x)
        parts.append(tag("line", Html(""), x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(tag("text", f"{x:,.10g}", x=at, y=bottom + 17, text_anchor="middle"))
    parts.append(tag("line", Html(""), x1=_LEFT, x2=end, y1=bottom, y2=bottom, class_="axis"))
    parts.append(tag("text", x_label, x=(_LEFT + end) / 2, y=_HEIGHT - 5, text_anchor="middle"))
    for line in lines:
        looks = _looks(line.series) + (" faint" if line.faint else "")
        corners = " ".join(f"{across(x)},{down(y)}" for x, y in line.points)
        dashes = DASHES[line.series % len(DASHES)]
        parts.append(tag("polyline", Html(""), points=corners, class_=looks, stroke_dasharray=dashes))
        if not line.faint:  # the last value, which is all there is of a line with one point
            x, y = line.points[-1]
            parts.append(tag("circle", Html(""), cx=across(x), cy=down(y), r=3, class_=looks))
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return tag("svg", join(parts), viewBox=box, role="img", aria_label=label, class_="chart")


def legend(names: Sequence[str]) -> Html:
    """What the series are called, in their order, each beside a piece of its line."""
    items = []
    for series, name in enumerate(names):
        dashes = DASHES[series % len(DASHES)]
        piece = tag("line", Html(""), x1=0, x2=34, y1=6, y2=6, class_=_looks(series), stroke_dasharray=dashes)
        size = {"viewBox": "0 0 34 12", "width": 34, "height": 12}
        items.append(tag("li", tag("svg", piece, aria_hidden="true", class_="swatch", **size), " ", name))
    return tag("ul", *items, class_="legend")


def _looks(series: int) -> str:
    return f"line series-{series % len(DASHES)}"


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """From the least to the greatest of *values*, widened by a share of that, and never empty."""
    low, high = min(values), max(values)
    room = (high - low) * margin or (0 if high > low else abs(high) or 1)
    return low - room, high + room
