"""Two workers are one worker with twice the batch. Runs that are killed: see tests.faults.resume."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.integration.command_line import IKD, MODEL, OPTIMIZER, TASK, free_port, run
from tests.integration.conftest import prepare


def updates_logged(log: str) -> dict:
    """nll, KD terms and gradient norm by update."""
    found = {}
    for line in log.splitlines():
        if "train_inner" in line:
            values = json.loads(line[line.index("{") :])
            keys = ("loss", "nll_loss", "kd_irm", "kd_iam", "kd_image", "gnorm")
            found[int(values["num_updates"])] = [values.get(key) for key in keys]
    return found


def test_run_of_fairseqs_criterion_and_adam_goes_on_with_ours(toy_data, tmp_path):
    command = [
        "fairseq_cli.train",
        [str(toy_data)],
        TASK,
        f"--arch transformer_mmt_tiny {MODEL} --dropout 0.1 --label-smoothing 0.1 --report-accuracy",
        OPTIMIZER,
        "--batch-size 8 --update-freq 2 --seed 5 --disable-validation",
    ]
    fairseqs = "--criterion label_smoothed_cross_entropy --use-old-adam"
    whole = updates_logged(run(*command, fairseqs, f"--max-update 6 --save-dir {tmp_path / 'whole'}"))
    folder = f"--save-dir {tmp_path / 'begun'}"
    run(*command, fairseqs, f"--max-update 3 {folder}")
    resumed = updates_logged(run(*command, "--criterion translation", f"--max-update 6 {folder}"))
    assert sorted(resumed) == [4, 5, 6]
    for update, values in resumed.items():
        compared = [(float(a), float(b)) for a, b in zip(values, whole[update]) if a is not None]
        assert len(compared) == 3
        for a, b in compared:
            assert a == pytest.approx(b, rel=1e-3), (update, values, whole[update])


def run_two_workers(*command) -> str:
    """Runs a command in two processes that train together, to its end, and returns what the first printed."""
    port = free_port()

    def work(rank: int) -> str:
        return run(
            *command,
            f"--distributed-init-method tcp://127.0.0.1:{port}",
            f"--distributed-world-size 2 --distributed-rank {rank}",
            "--distributed-no-spawn --distributed-backend gloo --ddp-backend legacy_ddp",
        )

    with ThreadPoolExecutor(2) as workers:
        first, _ = workers.map(work, range(2))
    return first


@pytest.fixture(scope="module")
def eight_pairs(tmp_path_factory):
    """Eight training pairs of which three have an image: two batches of four, or one of eight."""
    folder = tmp_path_factory.mktemp("eight")
    return prepare(folder, {"train": (8, [0, 1, 5]), "valid": (4, [0])})


@pytest.mark.parametrize("images, options", [("some", ""), ("none", "--consistency-weight 5")])
def test_two_workers_equal_one_with_twice_the_batch(eight_pairs, tmp_path, images, options):
    data = eight_pairs
    if images == "none":  # neither worker has an image: nothing hangs, nothing is unused
        data = shutil.copytree(eight_pairs, tmp_path / "data", ignore=shutil.ignore_patterns("*.images.*"))
    command = [
        "fairseq_cli.train",
        [str(data)],
        TASK,
        IKD,
        # Plain gradient descent: Adam's first steps turn rounding of a tiny gradient into a whole step. At a
        # rate that suits a gradient norm of 1,000.
        "--optimizer sgd --lr 0.000001 --log-format json --log-interval 1 --num-workers 0 --cpu",
        "--dropout 0 --max-update 3 --seed 3 --disable-validation --granularity block",
        "--required-batch-size-multiple 1",  # fairseq would drop a last batch of four
        # By region, statistics are over eight sentences alone, whose features are still nearly equal: divided
        # by so small a deviation, last bits grow to thousandths within three updates.
        "--generator-norm channel",
        options,
    ]
    one = updates_logged(run(*command, f"--batch-size 8 --save-dir {tmp_path / 'one'}"))
    two = updates_logged(run_two_workers(*command, f"--batch-size 4 --save-dir {tmp_path / 'two'}"))
    assert sorted(one) == sorted(two) == [1, 2, 3]
    for update, values in one.items():
        # Every loss; and the gradient of the first update, where the weights are the same to the last bit
        # (later on, batch norm over three images makes much of their last bits).
        compared = len(values) if update == 1 else len(values) - 1
        for a, b in zip(values[:compared], two[update]):
            assert (a is None) == (b is None)
            if a is not None:
                assert float(a) == pytest.approx(float(b), rel=1e-3, abs=1e-3), (update, values, two[update])
    states = [
        torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True)["model"]
        for name in ("one", "two")
    ]
    for key in ("encoder.generator.batch_norm.running_mean", "encoder.generator.batch_norm.running_var"):
        torch.testing.assert_close(states[0][key], states[1][key], rtol=1e-3, atol=1e-4)

    if images == "some":
        return
    resumed = run_two_workers(*command, f"--batch-size 4 --save-dir {tmp_path / 'two'} --max-update 4")
    assert sorted(updates_logged(resumed)) == [4]
