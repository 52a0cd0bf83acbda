"""The workbench, made once a session."""

from pathlib import Path

import pytest

from tests.faults.workbench import make_workbench
from tests.integration.conftest import made_once


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> Path:
    return made_once(tmp_path_factory, "workbench", make_workbench)
