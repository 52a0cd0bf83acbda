"""A chart a term, faint lines below; runs without curves are named."""

from ikd_fairseq.experiments.comparison import group_systems
from ikd_fairseq.experiments.page.curve_charts import draw_curves
from ikd_fairseq.experiments.record import Record
from tests.finished_runs import spoilt, write_run


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
