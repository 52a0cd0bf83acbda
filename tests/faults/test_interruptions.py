"""Two kills of every writing command, and one full disk and one race; ``python -m tests.faults`` does more."""

import pytest

from tests.faults.interruptions import WAYS, WRITERS, Trials
from tests.integration.command_line import warm_process


@pytest.mark.parametrize("name", WRITERS)
def test_interrupted_writer_harms_nothing(name, bench, tmp_path):
    warm_process()  # else the first duration is that of starting it
    trials = Trials(WRITERS[name], bench, tmp_path / "bench", seed=1)
    for way in ("killed", "killed", "disk full", "two at once"):
        WAYS[way](trials)
    assert not trials.notes, "\n".join(trials.notes)
    assert trials.counts.trials == 4
