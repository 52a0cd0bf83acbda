"""A seeded sample of the harm that ``python -m tests.faults`` does at length."""

import random
import shutil

import pytest

from tests.faults.bad_inputs import KINDS
from tests.faults.interruptions import WAYS, WRITERS, Trials
from tests.faults.judge import judge
from tests.faults.workbench import copy_workbench, make_workbench
from tests.integration.command_line import warm_process
from tests.integration.conftest import made_once

SAMPLE = 6  # bad inputs of every kind


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    return made_once(tmp_path_factory, "workbench", make_workbench)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused_in_one_sentence(kind, bench, tmp_path):
    found = random.Random(kind).sample(list(KINDS[kind](bench)), SAMPLE)
    judgements = []
    for bad in found:
        shutil.rmtree(tmp_path / "bench", ignore_errors=True)
        judgements.append(judge(bad, copy_workbench(bench, tmp_path / "bench")))
    assert [(str(j.input), j.verdict, j.said) for j in judgements if not j.good] == []


@pytest.mark.parametrize("way, times", [("killed", 2), ("disk full", 1), ("two at once", 1)])
@pytest.mark.parametrize("name", WRITERS)
def test_interrupted_writer_harms_nothing(name, way, times, bench, tmp_path):
    warm_process()
    trials = Trials(WRITERS[name], bench, tmp_path / "bench", seed=1)
    for _ in range(times):
        WAYS[way](trials)
    assert not trials.notes, "\n".join(trials.notes)
    assert trials.counts.trials == times
