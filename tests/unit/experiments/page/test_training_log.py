"""Logs of fairseq: curves, options, facts; and what becomes of a log that goes on after an interruption."""

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.page.training_log import (
    TRAIN,
    VALID,
    parse_options,
    read_curves,
    read_training_log,
)
from tests.finished_runs import LOG


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        path = tmp_path / "train.log"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_curves_hold_terms_of_epochs_alone(write):
    log = read_training_log(write(LOG))
    assert log.curves[VALID] == {"nll_loss": [(62, 11.3), (124, 8.5)], "kd_irm": [(62, 3.0051), (124, 2.8)]}
    assert log.curves[TRAIN] == {"nll_loss": [(62, 12.5)], "kd_irm": [(62, 2.9)]}
    assert log.updates == 124
    assert read_curves(write(LOG)) == log.curves[VALID]


def test_start_data_and_time_are_read(write):
    log = read_training_log(write(LOG))
    assert (log.starts, log.began, log.seconds) == (1, "2026-11-21 11:51:09", 170.5)
    images = "6,993 of 29,000 sentences have one"
    assert log.facts == {"dictionary, en": "9,712 types", "train, images": images}


def test_of_an_update_that_was_repeated_the_later_values_count(write):
    again = LOG.replace("nll_loss 8.5", "nll_loss 8.25").replace("done training", "stopped")
    log = read_training_log(write(LOG + again))
    assert log.curves[VALID]["nll_loss"] == [(62, 11.3), (124, 8.25)]
    assert log.starts == 2 and log.seconds is None


def test_options_are_read_with_enumerations_namespaces_and_text_that_looks_like_them():
    options = parse_options(
        "{'_name': None, 'model': {'_name': 'x', 'fn': relu, 'kind': a-b, 'lr': [-0.5, 1e-07], "
        "'text': 'a: b, {c}'}, "
        "'task': Namespace(data='d', free=False), 'bpe': None}"
    )
    assert options == {
        "model": {"_name": "x", "fn": "relu", "kind": "a-b", "lr": [-0.5, 1e-07], "text": "a: b, {c}"},
        "task": {"data": "d", "free": False},
    }


def test_options_that_are_cut_off_are_unknown():
    assert parse_options("{'_name': None, 'model': {'_name'") == {}


def test_log_without_anything_is_empty_and_a_missing_one_refused(write, tmp_path):
    log = read_training_log(write("no log\n| valid | nothing\n"))
    assert log.curves == {TRAIN: {}, VALID: {}} and log.updates == 0 and log.options == {}
    with pytest.raises(IkdError, match="nowhere cannot be read"):
        read_training_log(tmp_path / "nowhere")
