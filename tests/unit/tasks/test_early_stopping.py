"""What fairseq counts for --patience goes into the task's state and comes back from it."""

import sys
from types import SimpleNamespace

import pytest
from fairseq import checkpoint_utils

from ikd_fairseq.constants import EARLY_STOPPING
from ikd_fairseq.tasks import starting
from ikd_fairseq.tasks.early_stopping import counted, go_on_counting

BEFORE = {"best": 2.5, "num_runs": 1, "metric": "loss"}


def settings(patience=2, metric="loss"):
    return SimpleNamespace(patience=patience, best_checkpoint_metric=metric)


@pytest.fixture
def decision(monkeypatch):
    """Stands for fairseq's function, in the module of its command."""

    def should_stop_early(): ...

    monkeypatch.setitem(
        sys.modules, "fairseq_cli.train", SimpleNamespace(should_stop_early=should_stop_early)
    )
    return should_stop_early


def test_what_was_counted_comes_back(decision):
    go_on_counting(settings(), None)
    assert counted() == {}  # no validation yet
    decision.best, decision.num_runs = 2.5, 1
    saved = counted()
    assert saved == {EARLY_STOPPING: BEFORE}
    vars(decision).clear()
    go_on_counting(settings(), saved[EARLY_STOPPING])
    assert counted() == saved


def test_a_patience_at_its_end_ends_training_and_a_longer_one_does_not(decision):
    with pytest.raises(SystemExit) as end:
        go_on_counting(settings(patience=1), BEFORE)
    assert end.value.code == 0
    go_on_counting(settings(patience=3), BEFORE)
    assert decision.num_runs == 1


@pytest.mark.parametrize("other", [settings(patience=-1), settings(metric="bleu")])
def test_nothing_is_counted_on_without_patience_or_by_another_metric(decision, other):
    go_on_counting(other, BEFORE)
    assert counted() == {} and not hasattr(decision, "best")


def test_without_fairseqs_command_nothing_is_counted():
    go_on_counting(settings(), BEFORE)
    assert counted() == {}


@pytest.mark.parametrize("keeps_best", [True, False])
def test_counting_goes_on_where_fairseq_goes_on_with_the_best_value(decision, monkeypatch, keeps_best):
    task = SimpleNamespace(state=SimpleNamespace(state_dict={EARLY_STOPPING: BEFORE}))
    monkeypatch.setattr(starting, "check_batches", lambda cfg: None)
    monkeypatch.setattr(starting, "_begin", lambda settings, trainer: ({}, "batches"))
    monkeypatch.delattr(checkpoint_utils.save_checkpoint, "best", raising=False)
    if keeps_best:
        monkeypatch.setattr(checkpoint_utils.save_checkpoint, "best", 2.5, raising=False)
    found = starting.begin(settings(), SimpleNamespace(task=task, cfg=None))
    assert found == ({}, "batches") and EARLY_STOPPING not in task.state.state_dict
    assert counted() == ({EARLY_STOPPING: BEFORE} if keeps_best else {})
