"""Two systems of the long run by hand, which ``python -m tests.faults.resume`` makes."""

import pytest

from tests.faults.resume import compare
from tests.integration.conftest import toy_data  # noqa: F401


@pytest.mark.parametrize(("system", "way"), [("ikd", "plain"), ("text", "update-freq 2")])
def test_a_training_killed_in_three_epochs_ends_as_one_that_was_left_alone(toy_data, tmp_path, system, way):  # noqa: F811
    found = compare({"whole": toy_data}, system, way, tmp_path)
    assert len(found.killed_after) == 3
    assert found.losses == found.weights == 0.0
