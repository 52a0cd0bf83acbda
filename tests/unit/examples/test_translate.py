"""translate.sh: which file a translation goes into, and what ikd-record is told of it."""

import subprocess

import pytest

STAND_INS = {
    "fairseq-generate": "echo H-0 $*",
    "ikd-record": 'printf "%s\\n" "$@"',
    "ikd-fairseq-dir": "echo USER_DIR",
    "python": "exit 1",  # asked for a GPU
}


@pytest.fixture
def translate(recipes, tmp_path):
    """The recipe over stand-ins; gives the name of the file and the arguments of ikd-record."""
    folder, found = recipes(STAND_INS)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "average.pt").touch()

    def run(*options: str, **environment: str) -> tuple[str, list[str]]:
        command = ["bash", folder / "translate.sh", "data", tmp_path / "run/average.pt", "test", *options]
        env = {**found, **environment}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        (written,) = (tmp_path / "run").glob("generate-*.txt")
        assert written.read_text().endswith(f"{' '.join(options)}\n")
        written.unlink()
        return written.name, done.stdout.splitlines()

    return run


def test_another_search_has_a_file_of_its_own_and_the_record_is_told(translate):
    for options, environment, name in (
        ([], {}, "generate-test.txt"),
        ([], {"BEAM": "4", "BATCH": "8"}, "generate-test.beam4.txt"),
        (["--lenpen", "0.6"], {}, "generate-test.lenpen-0.6.txt"),
        (["--lenpen", "2"], {"BEAM": "1"}, "generate-test.beam1.lenpen-2.txt"),
        (["--model-overrides", "{'a': 'b c'}"], {}, "generate-test.model-overrides-a-b-c.txt"),
    ):
        written, record = translate(*options, **environment)
        assert written == name and record[record.index("--output") + 1] == name
        assert f"--search={' '.join(options)}" in record
