"""Which GPUs a step of a grid takes, of those that a stand-in of nvidia-smi lists."""

import getpass
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "multi30k" / "take_gpus.sh"
LISTED = "GPU-ikd-test-1\nGPU-ikd-test-2\n"


@pytest.fixture
def take(tmp_path):
    """Takes a number of GPUs; gives the status of the step, and what it printed."""

    def run(number, share=1, *, says=LISTED, status=0, then='echo "[${CUDA_VISIBLE_DEVICES-all}]"'):
        (tmp_path / "said").write_text(says)
        stand_in = tmp_path / "nvidia-smi"
        stand_in.write_text(f"#!/bin/sh\ncat {tmp_path}/said\nexit {status}\n")
        stand_in.chmod(0o755)
        command = f'set -euo pipefail; . "$0" {number} {share}; {then}'
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        call = ["bash", "-c", command, str(SCRIPT)]
        found = subprocess.run(call, env=environment, capture_output=True, text=True)
        return found.returncode, (found.stdout + found.stderr).strip()

    yield run
    for gpu in LISTED.split():
        for lock in Path("/tmp").glob(f"ikd-{getpass.getuser()}-{gpu}.*.lock"):
            lock.unlink()


def test_as_many_as_are_asked_for_are_visible(take):
    assert take(0) == (0, "[]")
    assert take(1) == (0, "[GPU-ikd-test-1]")
    assert take(2) == (0, "[GPU-ikd-test-1,GPU-ikd-test-2]")


def test_a_gpu_that_another_step_holds_is_passed_over(take):
    other = f"CUDA_VISIBLE_DEVICES= bash -c '. \"$0\" 1; echo $CUDA_VISIBLE_DEVICES' '{SCRIPT}'"
    assert take(1, then=other) == (0, "GPU-ikd-test-2")


def test_gpus_that_may_be_shared_have_a_second_step_once_each_has_one(take):
    status, output = take(1, 2, then='echo $CUDA_VISIBLE_DEVICES; . "$0" 1 2; ' * 4)
    *gpus, refusal = output.splitlines()
    assert gpus == 2 * LISTED.split()
    assert status != 0 and "1 GPUs are needed and 0 are free" in refusal


def test_too_few_are_refused(take):
    status, output = take(3)
    assert status != 0 and "3 GPUs are needed and 2 are free: give --resources gpu=N" in output


def test_a_driver_that_does_not_answer_is_no_gpu(take):
    status, output = take(1, says="NVIDIA-SMI has failed", status=9)
    assert status != 0 and "nvidia-smi lists no GPUs (NVIDIA-SMI has failed): give gpus=0" in output
