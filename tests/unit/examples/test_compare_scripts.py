"""The comparison's shell scripts: what the names of systems stand for, refusals, the grid of the array job."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY

RECIPES = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
sys.path.insert(0, str(RECIPES))

import comparison_table  # noqa: E402  importing the package registers models and criterions


def bash(*command, cwd=None, **environment) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(
        ["bash", *map(str, command)], capture_output=True, text=True, cwd=cwd, env={**kept, **environment}
    )


def described_systems() -> dict:
    """What it does with images, and its options, by system."""
    script = 'for s in $SYSTEMS; do describe_system $s || exit 1; echo "$s|$images|${options[*]}"; done'
    done = bash("-euc", f". '{RECIPES}/systems.sh'; {script}")
    assert done.returncode == 0, done.stderr
    lines = (line.split("|") for line in done.stdout.splitlines())
    return {name: (images, options.split()) for name, images, options in lines}


def test_each_system_is_an_architecture_that_sees_images_when_its_name_says_so():
    for name, (images, options) in described_systems().items():
        values = dict(zip(options[::2], options[1::2]))
        model = ARCH_MODEL_REGISTRY[values["--arch"]]
        assert model.requires_images == (images == "test"), name
        criterion = CRITERION_REGISTRY[values["--criterion"]]
        learns_from_images = criterion.__name__ != "LabelSmoothedCrossEntropyCriterion"
        assert learns_from_images == (images == "training"), name
        assert ("--retriever" in values) == (images == "index"), name


def test_each_system_has_a_title():
    assert set(described_systems()) == set(comparison_table.TITLES)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--systems", "text txet"], "system txet is none of: text image-must"),
        (["--for", "txet", "--lr 1"], "--for txet"),
        (["--seeds", "1 x"], "seed x"),
        (["--systems", " "], "--systems is empty"),
        (["--updates", "0"], "0 is not a whole number above 0"),
        (["--stages", "all"], "the stages are index, runs and table"),
        (["--update", "5"], "unknown option --update"),
        (["--pairs"], "--pairs needs a value"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence_before_anything_starts(tmp_path, arguments, words):
    done = bash(RECIPES / "compare.sh", "--data", tmp_path, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("compare.sh: error: ") and words in line


GRID = {"DATA": "data", "RUNS": "runs", "PAIRS": "en-de en-fr", "SEEDS": "1 2", "SYSTEMS": "text ikd"}


@pytest.fixture
def array_task(tmp_path):
    """Runs one task of the array job in a checkout whose compare.sh prints what it is given."""
    (tmp_path / "examples" / "multi30k").mkdir(parents=True)
    fake = tmp_path / "examples" / "multi30k" / "compare.sh"
    fake.write_text('echo "$@"; echo "${LAUNCH:-} | ${DISTRIBUTED:-}"\n')
    script = shutil.copy(RECIPES / "slurm" / "compare.sbatch", tmp_path / "spooled")

    def run(task, *arguments, **environment):
        slurm = {"SLURM_ARRAY_TASK_ID": str(task), **environment}
        return bash(script, *arguments, cwd=tmp_path, **GRID, **slurm)

    return run


def test_tasks_of_the_array_are_the_runs_of_the_grid(array_task):
    given = ["--updates", "9", "--", "--lr", "1"]
    printed = [array_task(task, *given).stdout.splitlines()[0] for task in range(8)]
    expected = [
        f"--data data --out runs --pairs {pair} --seeds {seed} --systems {system} --stages runs "
        + " ".join(given)
        for pair in ("en-de", "en-fr")
        for seed in (1, 2)
        for system in ("text", "ikd")
    ]
    assert printed == expected
    beyond = array_task(8)
    assert beyond.returncode == 1 and "--array=0-7" in beyond.stderr


def test_gpus_share_the_tokens_of_an_update_and_nodes_find_each_other(array_task):
    one_node = array_task(0, "--", "--lr", "1", SLURM_GPUS_ON_NODE="4").stdout.splitlines()
    assert one_node[0].endswith("-- --update-freq 1 --max-tokens 2048 --lr 1") and one_node[1] == " | "
    two_nodes = array_task(3, SLURM_GPUS_ON_NODE="2", SLURM_JOB_NUM_NODES="2").stdout.splitlines()
    assert two_nodes[0].endswith("-- --update-freq 1 --max-tokens 2048")
    assert two_nodes[1].startswith("srun --ntasks-per-node=1 ")
    assert two_nodes[1].endswith(" | --distributed-world-size 4 --distributed-port 20003")
