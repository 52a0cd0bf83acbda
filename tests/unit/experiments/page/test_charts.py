"""Lines stand where their values are, and differ in more than colour."""

import re
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from ikd_fairseq.experiments.comparison import group_systems
from ikd_fairseq.experiments.page import charts
from ikd_fairseq.experiments.page.charts import DASHES, Line, draw_curves, line_chart, ticks
from ikd_fairseq.experiments.record import Record
from tests.finished_runs import spoilt, write_run


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 1500, [0, 500, 1000, 1500]),
        (2.66, 3.01, [2.7, 2.8, 2.9, 3.0]),
        (-0.5, 0.5, [-0.4, -0.2, 0.0, 0.2, 0.4]),
        (0, 0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_ticks_are_round_and_within(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.fixture(scope="module")
def template():
    """The macros that draw."""
    folder = Path(charts.__file__).with_name("templates")
    return Environment(loader=FileSystemLoader(folder), autoescape=True).get_template("charts.html.j2").module


def places(drawn, series):
    (points,) = re.findall(rf'<polyline points="([^"]*)" class="line series-{series}"', drawn)
    return [tuple(map(float, point.split(","))) for point in points.split()]


def test_points_are_linear_in_their_values_and_up_is_more(template):
    rising, falling = Line([(0, 1.0), (50, 2.0), (100, 3.0)], 0), Line([(0, 3.0), (100, 1.0)], 1)
    chart = template.chart(line_chart("label", [rising, falling], "x"))
    (x0, y0), (x1, y1), (x2, y2) = places(chart, 0)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 > y2  # down the page is less
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert places(chart, 1) == [(x0, y2), (x2, y0)]


def test_single_and_constant_values_are_drawn(template):
    for line in (Line([(10, 2.0)], 0), Line([(0, 0.0), (10, 0.0)], 0)):
        drawn = template.chart(line_chart("label", [line], "updates"))
        assert "nan" not in drawn and len(places(drawn, 0)) == len(line.points)


def test_series_differ_in_dashes_and_the_legend_shows_them(template):
    lines = [Line([(0, 1), (1, 2)], series) for series in range(len(DASHES))]
    chart = template.chart(line_chart("label", lines, "x"))
    found = re.findall(r'<polyline points="[^"]*" class="[^"]*"(?: stroke-dasharray="([^"]*)")?', chart)
    assert len(set(found)) == len(DASHES) and found == [dash or "" for dash in DASHES]
    legend = template.legend({"text": lines[0], "a&b": lines[1]})
    assert re.findall(r"</svg> (\S+)</li>", legend) == ["text", "a&amp;b"]
    assert legend.count("stroke-dasharray") == 1


def test_curves_are_drawn_by_term_and_system_and_missing_ones_named(tmp_path):
    runs = [
        write_run(tmp_path / name, {"test": spoilt(5)}, trained)
        for name, trained in (("text", True), ("ikd-seed1", True), ("ikd-seed2", False))
    ]
    curves = draw_curves(group_systems([Record.load(run) for run in runs]))
    assert list(curves.terms) == ["nll_loss", "kd_irm"] and curves.missing == ["ikd-seed2"]
    lines = curves.charts["kd_irm"].lines
    assert [(line.series, line.faint) for line in lines] == [(0, True), (1, True), (0, False), (1, False)]
    assert "text from 3.0051 to 2.8; ikd from 3.0051 to 2.8" in curves.charts["kd_irm"].label
    assert [line.series for line in curves.legend.values()] == [0, 1]
    updates, values = curves.last["ikd-seed1"]
    assert updates == 124 and round(values["nll_loss"], 4) == 8.5
