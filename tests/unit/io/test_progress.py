"""Commands log to standard error in fairseq's format, whoever set up logging before."""

import io
import logging
import re

import pytest

from ikd_fairseq.io.progress import progress, set_up_logging


@pytest.fixture
def keep_logging():
    """Puts the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_have_fairseqs_format_and_go_to_standard_error_once(keep_logging, capsys):
    earlier = io.StringIO()
    logging.basicConfig(stream=earlier, level=logging.ERROR)
    set_up_logging()
    set_up_logging()
    logging.getLogger("ikd_fairseq.cli.x").info("%d images", 3)
    captured = capsys.readouterr()
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| ikd_fairseq\.cli\.x \| 3 images\n"
    assert re.fullmatch(line, captured.err)
    assert captured.out == earlier.getvalue() == ""


@pytest.mark.parametrize("terminal, seconds", [(True, 0.5), (False, 5.0)])
def test_a_bar_gives_every_item_and_is_drawn_less_often_in_a_log(monkeypatch, terminal, seconds):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr("sys.stderr", stream)
    bar = progress(range(3), desc="rows")
    assert bar.mininterval == bar.maxinterval == seconds
    assert list(bar) == [0, 1, 2]
    assert "rows: 100%" in stream.getvalue()
