"""set_up.sh over stand-ins of Python and the compiler: which Python it takes, what it asks of the machine."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]

# A Python that makes environments of copies of itself. It says what it is called for, and what it sees of
# variables that pip is not to see.
PYTHON = """#!/bin/bash
case "$*" in
  -I*) exit 1 ;;                     # whether the active one has the plugin
  -c*ensurepip*) exit 0 ;;
  --version) echo "Python 3.12.0" ;;
  -m\\ venv*)
    echo "${0##*/} $*" >>"$CALLS"
    mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  -m\\ pip\\ download*) exit 1 ;;    # there is no wheel
  -m\\ pip*) echo "pip ${CUDA_HOME-}${PYTHONPATH-} $*" >>"$CALLS" ;;
  -\\ *) printf '%s\\n' torch==1 fairseq-fixed==1 ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Sets a checkout up; gives status, what was said, and the calls of Pythons and of pip."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "checkout" / "examples").mkdir(parents=True)
    shutil.copy(CHECKOUT / "examples" / "set_up.sh", tmp_path / "checkout" / "examples")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path / "checkout")
    calls = tmp_path / "calls.txt"

    def run(
        checkout="checkout", script=". examples/set_up.sh; command -v python", **stand_ins: str
    ) -> tuple[int, str, list[str]]:
        others = {"python3.11": "exit 127", "python3": "exit 1", "python": "exit 1", "c++": "true"}
        others = {name: f"#!/bin/sh\n{does}\n" for name, does in others.items()}
        for name, does in {**others, "python3.12": PYTHON, **stand_ins}.items():
            (tmp_path / "bin" / name).write_text(does)
            (tmp_path / "bin" / name).chmod(0o755)
        calls.write_text("")
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "CALLS": str(calls), "CUDA_HOME": "/cuda"}
        environment |= {"PYTHONPATH": "/elsewhere", "CDPATH": ".:/"}
        command = ["bash", "-c", f"set -euo pipefail; {script}"]
        done = subprocess.run(
            command, cwd=tmp_path / checkout, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr, calls.read_text().splitlines()

    return run


def test_it_takes_a_python_that_works_and_shows_pip_nothing_of_other_places(set_up, tmp_path):
    status, said, calls = set_up()
    assert status == 0 and said.endswith(f"{tmp_path}/checkout/.venv/bin/python\n")
    assert calls[0] == f"python3.12 -m venv {tmp_path}/checkout/.venv"
    assert [call for call in calls if "torch==1" in call] and all(call[:6] == "pip  -" for call in calls[1:])
    assert set_up()[2] == []


def test_without_a_python_that_will_do_it_says_which(set_up):
    status, said, calls = set_up(**{"python3.12": "#!/bin/sh\nexit 1\n", "python3.13": "#!/bin/sh\nexit 1\n"})
    assert status != 0 and "no Python of 3.11 to 3.13" in said and not calls


def test_the_compiler_is_tried_before_anything_large_is_fetched(set_up):
    status, said, calls = set_up(**dict.fromkeys(("c++", "g++"), "#!/bin/sh\nexit 1\n"))
    assert status != 0 and "needs a compiler of C++20 and the headers of Python; install" in said
    assert not [call for call in calls if "torch==1" in call]


def test_of_two_at_once_the_second_waits_and_finds_it_made(set_up):
    slow = PYTHON.replace("mkdir -p", "sleep 3; mkdir -p")
    status, said, calls = set_up(
        script=". examples/set_up.sh & other=$!; . examples/set_up.sh; wait $other", **{"python3.12": slow}
    )
    assert status == 0 and "waiting for another set-up" in said
    assert len([call for call in calls if "-m venv" in call]) == 1


def test_an_environment_that_was_copied_with_its_checkout_is_made_anew(set_up, tmp_path):
    set_up()
    shutil.copytree(tmp_path / "checkout", tmp_path / "copy of it")
    status, _, calls = set_up("copy of it")
    assert status == 0 and calls[0] == f"python3.12 -m venv --clear {tmp_path}/copy of it/.venv"
