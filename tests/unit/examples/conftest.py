"""Recipes over stand-ins of the commands that they call."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def recipes(tmp_path):
    """A copy of the recipes that sets nothing up: its folder, and an environment with *stand_ins* on PATH."""

    def copy(stand_ins: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
        shutil.copytree(EXAMPLES, tmp_path / "examples")
        set_up = tmp_path / "examples" / "set_up.sh"
        set_up.write_text(set_up.read_text().removesuffix("\nikd_set_up\n"))
        (tmp_path / "bin").mkdir()
        for name, does in stand_ins.items():
            (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
        return tmp_path / "examples" / "multi30k", {**os.environ, "PATH": path}

    return copy
