"""Two systems of the long run by hand, which ``python -m tests.faults.resume`` makes."""

import pytest

from tests.faults.resume import SYSTEMS, compare, run_until, training, updates_logged
from tests.integration.conftest import toy_data  # noqa: F401


@pytest.mark.parametrize(("system", "way"), [("ikd", "plain"), ("text", "update-freq 2")])
def test_a_training_killed_in_three_epochs_ends_as_one_that_was_left_alone(toy_data, tmp_path, system, way):  # noqa: F811
    found = compare({"whole": toy_data}, system, way, tmp_path)
    assert len(found.killed_after) == 3
    assert found.losses == found.weights == 0.0


def test_a_training_that_is_killed_stops_as_early_as_one_that_was_left_alone(toy_data, tmp_path):  # noqa: F811
    def train(folder, last=float("inf"), patience=3):
        """Validates every 2nd update. The largest loss is called the best one, so that the first stays it."""
        options = f"--patience {patience} --maximize-best-checkpoint-metric --max-update 40 --seed 5"
        saved = f"--save-interval-updates 2 --no-epoch-checkpoints --save-dir {folder}"
        line = training(toy_data, SYSTEMS["text"], options, saved)
        log = run_until(lambda text: "| train_inner |" in text and max(updates_logged(text)) >= last, *line)
        return log, sorted(updates_logged(log))

    _, whole = train(tmp_path / "whole")
    assert whole == list(range(1, 9))
    train(tmp_path / "killed", last=5)
    assert train(tmp_path / "killed")[1] == [5, 6, 7, 8]
    last = tmp_path / "killed" / "checkpoint_last.pt"
    before = last.read_bytes()
    log, updates = train(tmp_path / "killed")
    assert not updates and "3 validations have brought no better loss" in log and last.read_bytes() == before
    assert train(tmp_path / "killed", patience=4)[1] == [9, 10]
