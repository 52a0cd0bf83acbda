"""What pip gets: every module and data file of the package, and nothing else in the wheel."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from ikd_fairseq.version import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def package_files() -> set[str]:
    paths = (CHECKOUT / "ikd_fairseq").rglob("*")
    files = {str(path.relative_to(CHECKOUT)) for path in paths if path.is_file()}
    return {file for file in files if "__pycache__" not in file}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist and the wheel made of it, without the network and outside the checkout."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("ikd_fairseq", "tests", "examples", "docs"):  # the last three must stay behind
        shutil.copytree(CHECKOUT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built / f"ikd_fairseq-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(f"ikd_fairseq-{__version__}.dist-info/entry_points.txt").decode()
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert "ikd_fairseq/py.typed" in names
    assert "ikd_fairseq/io/templates/style.css" in names
    for command in PROJECT["scripts"]:
        assert f"\n{command} = " in entry_points


def test_sdist_is_enough_to_build_from(built):
    with tarfile.open(built / f"ikd_fairseq-{__version__}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert package_files() | {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= names


def test_version_of_the_package_is_that_of_its_module():
    import ikd_fairseq

    assert ikd_fairseq.__version__ == __version__
    assert f"## [{__version__}]" in (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(PROJECT["scripts"]))
def test_command_leads_to_a_main(command):
    module, _, function = PROJECT["scripts"][command].partition(":")
    assert function == "main" and callable(importlib.import_module(module).main)


def test_every_module_that_is_imported_is_of_a_dependency():
    """Another project's module comes with a dependency of this one, or is asked for by an extra."""
    provided_by = {
        "PIL": "pillow",
        "fairseq": "fairseq-fixed",
        "sklearn": "scikit-learn",
        "subword_nmt": "subword-nmt",
        "yaml": "pyyaml",
        "huggingface_hub": "timm",  # which needs it
    }
    brought_by_fairseq = {"omegaconf", "hydra"}
    stated = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    stated = {re.split("[<>=[]", text)[0] for text in stated}
    for path in (CHECKOUT / "ikd_fairseq").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names}:
                known = name in sys.stdlib_module_names or name in brought_by_fairseq | {"ikd_fairseq"}
                assert known or provided_by.get(name, name) in stated, f"{path}: {name}"
