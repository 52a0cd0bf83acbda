"""A seeded sample of the bad inputs that ``python -m tests.faults`` judges."""

import random
import shutil

import pytest

from tests.faults.bad_inputs import KINDS
from tests.faults.judge import judge
from tests.faults.workbench import copy_workbench

SAMPLE = 5  # of every kind


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused_in_one_sentence(kind, bench, tmp_path):
    found = random.Random(kind).sample(list(KINDS[kind](bench)), SAMPLE)
    judgements = []
    for bad in found:
        shutil.rmtree(tmp_path / "bench", ignore_errors=True)
        judgements.append(judge(bad, copy_workbench(bench, tmp_path / "bench")))
    assert [(str(j.input), j.verdict, j.said) for j in judgements if not j.good] == []
