"""The first updates of six systems log the losses that are recorded, on any processor."""

import json
from pathlib import Path

import pytest

from tests.compare_losses import RECORDED, SYSTEMS, differences, losses, result, start

CHECKOUT = Path(__file__).resolve().parents[2]
RECORD = CHECKOUT / "tests" / "data" / "recorded_losses.json"
TOLERANCE = 1e-4  # of each value; emulated processors differ by less than 1e-5


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, dict]:
    return losses(result(start(str(CHECKOUT), tmp_path_factory.mktemp("losses"), list(SYSTEMS), RECORDED)))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_first_updates_log_the_recorded_losses(measured, system):
    expected = {system: json.loads(RECORD.read_text(encoding="utf-8"))[system]}
    found = differences(expected, measured, TOLERANCE)
    assert not found, "\n".join([f"more than {TOLERANCE} away from what {RECORD} records:", *found])
