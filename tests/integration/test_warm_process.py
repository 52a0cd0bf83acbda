"""A copy of the warm process behaves like a process of its own."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.command_line import run, warm_environment, warm_process
from tests.integration.warm_process import write_shims


@pytest.fixture
def python(tmp_path):
    """Starts a program on PATH that runs Python code in a copy."""
    write_shims(tmp_path, warm_process(), {"python-copy": "timeit"})

    def start(code: str, **options) -> subprocess.Popen:
        command = [tmp_path / "python-copy", "-n", "1", "-r", "1", code]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)

    return start


def test_folder_environment_streams_and_status_are_those_of_the_caller(python, tmp_path):
    code = (
        "import os, sys; print(os.getcwd(), os.environ['GIVEN'], sys.stdin.read(), flush=True); os._exit(3)"
    )
    process = python(code, cwd=tmp_path, env={**warm_environment(), "GIVEN": "a value"})
    output, _ = process.communicate("typed")
    assert output.splitlines()[0] == f"{tmp_path} a value typed"
    assert process.returncode == 3


def test_a_copy_dies_with_its_caller_and_takes_its_children_along(python):
    code = "import os, subprocess; subprocess.Popen(['sleep', '600']); os.write(1, b'started\\n'); os.wait()"
    process = python(code)
    assert process.stdout.readline() == "started\n"
    process.kill()
    assert process.stdout.read() == ""  # the copy and its child hold the other end


def test_copies_start_with_different_seeds_and_what_fairseq_does_to_the_log():
    code = "import random, logging; print(random.random(), logging.getLogger().handlers)"
    first, second = (run("timeit", ["-n", "1", "-r", "1", code]).splitlines()[0].split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] == "[]"  # fairseq's commands set the log up themselves


def test_exception_is_shown_as_by_a_process_of_its_own():
    code = "from ikd_fairseq.errors import IkdError; raise IkdError('give --data')"
    assert "give --data" in run("timeit", ["-n", "1", "-r", "1", code], fails=True)


def test_recipes_find_the_commands(tmp_path):
    command = ["bash", "-c", "command -v fairseq-train; ikd-fairseq-dir"]
    output = subprocess.run(
        command, env=warm_environment(), capture_output=True, text=True, check=True
    ).stdout
    shim, folder = output.splitlines()
    assert Path(shim).parent == Path(warm_process()).parent
    assert folder.endswith("/ikd_fairseq")
