"""A training that is killed and goes on, against one that was left alone: losses and weights must be equal.

``python -m tests.faults.resume`` trains every system in every way, with a kill in each of three epochs, and
prints a table; ``--systems`` and ``--ways`` choose some of them. Without a difference the status is 0.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ikd_fairseq.modules.image_index_builder import build_image_index
from tests.integration.command_line import (
    IKD,
    MODEL,
    OPTIMIZER,
    TASK,
    WarmCommand,
    arguments,
    free_port,
    run,
)
from tests.integration.conftest import prepare

CNN = "--backbone efficientnet_lite0 --image-size 64"
SMOOTHED = "--criterion label_smoothed_cross_entropy --label-smoothing 0.1"
AUXILIARY = f"--criterion auxiliary_losses --label-smoothing 0.1 {CNN} --backbone-weights random"
SYSTEMS = {
    "text": f"--arch transformer_mmt_tiny {MODEL} {SMOOTHED}",
    "ikd": f"{IKD} --kd-images-per-batch 2",
    "image-must": f"--arch multimodal_transformer_tiny {MODEL} {CNN} --backbone-weights random {SMOOTHED}",
    "gated-fusion": f"--arch gated_fusion_tiny {MODEL} {CNN} --backbone-weights random {SMOOTHED}",
    "retrieval": f"--arch retrieval_transformer_tiny {MODEL} --retriever topic {SMOOTHED}",
    "hallucination": f"--arch hallucination_transformer_tiny {MODEL} --hallucination-layers 1 {AUXILIARY}",
    "imagination": f"--arch imagination_transformer_tiny {MODEL} {AUXILIARY}",
    "word-distillation": f"--arch transformer_mmt_tiny {MODEL} --criterion word_distillation "
    "--label-smoothing 0.1 --teacher-path TEACHER",
}
WAYS = {
    "plain": "",
    "update-freq 2": "--update-freq 2",
    "new batches every epoch": "--update-epoch-batch-itr True",
    "2 loading processes": "--num-workers 2",
    "shards": "",
    "2 workers": "--ddp-backend legacy_ddp --distributed-backend gloo",
}
EPOCHS = 3
# Of the 64 pairs, so that every epoch has 8 batches, or the two shards of 32 have 4 each.
BATCHES = "--batch-size 8 --batch-size-valid 8 --required-batch-size-multiple 1"


class Outcome(NamedTuple):
    """What became of a training that was killed: after which updates, and the largest differences."""

    killed_after: list[int]
    losses: float
    weights: float


def write_folders(folder: Path) -> dict[str, Path]:
    """Toy data as one folder and as two shards, with an image index, and a teacher's checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = prepare(folder / "whole", {"train": (64, range(40)), "valid": (13, range(0, 13, 2))})
    build_image_index(
        str(whole),
        "topic",
        stop_share=0.9,
        topics=4,
        backbone="efficientnet_lite0",
        backbone_weights="random",
    )
    words = whole / "dict.en.txt"
    shards = []
    for number, pictured in enumerate((range(20), range(5, 30))):
        splits = {"train": (32, pictured), "valid": (13, range(0, 13, 2))}
        shards.append(prepare(folder / f"shard{number}", splits, dictionary=words))
        shutil.copy(whole / "image-index.topic.pt", shards[-1])
    teacher = folder / "teacher"
    run(*training(whole, SYSTEMS["text"]), f"--max-update 8 --seed 7 --save-dir {teacher}")
    return {"whole": whole, "shards": folder, "teacher": teacher / "checkpoint_last.pt"}


def training(data: Path | str, *options: Any) -> list[Any]:
    """The command that trains by *options*, for :func:`run_until`."""
    return ["fairseq_cli.train", [str(data)], TASK, OPTIMIZER, BATCHES, *options]


def updates_logged(log: str) -> dict[int, dict[str, str]]:
    """What every update logs, without speed and time."""
    found = {}
    for line in log.splitlines():
        if "| train_inner |" in line:
            values = json.loads(line[line.index("{") :])
            timed = ("wps", "ups", "wpb", "wall", "train_wall", "bsz", "epoch", "gb_free")
            found[int(values["num_updates"])] = {k: v for k, v in values.items() if k not in timed}
    return found


def run_until(stop: Callable[[str], bool], *command: Any) -> str:
    """Runs a command as :func:`run` does, and kills it with all its processes at the first line to *stop* at.

    Returns:
        What it had printed until then.
    """
    process, printed = WarmCommand(command[0], arguments(*command[1:])), []
    with open(process.output, encoding="utf-8", closefd=False) as output:
        for line in output:
            printed.append(line)
            if stop(line):
                break
    process.kill()
    return "".join(printed)


def _run_workers(stop: Callable[[str], bool], command: list[Any]) -> str:
    """Two processes that train together; when the first is to be stopped, both are killed."""
    port, stopped = free_port(), []

    def stops(line: str) -> bool:
        stopped.extend([True] if stop(line) else [])
        return bool(stopped)

    def work(rank: int) -> str:
        return run_until(
            stops,
            *command,
            f"--distributed-init-method tcp://127.0.0.1:{port} --distributed-no-spawn",
            f"--distributed-world-size 2 --distributed-rank {rank}",
        )

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, range(2)))[0]


def compare(folders: dict[str, Path], system: str, way: str, scratch: Path) -> Outcome:
    """Trains *system* twice for three epochs: once in one go, once killed in the middle of every epoch.

    Args:
        folders: of :func:`write_folders`, of which a way and a system need some: ``whole`` or ``shards``, and
            ``teacher`` for word distillation.
    """
    options = SYSTEMS[system].replace("TEACHER", str(folders.get("teacher")))
    data: Any = folders["whole"]
    if way == "shards":
        data = os.pathsep.join(str(folders["shards"] / f"shard{number}" / "data") for number in range(2))
    command = training(data, options, WAYS[way], f"--max-epoch {EPOCHS} --seed 5 --save-interval-updates 2")
    per_epoch = 4 if way in ("update-freq 2", "shards", "2 workers") else 8

    def train(folder: Path, last: float) -> str:
        def stop(line: str) -> bool:
            return "| train_inner |" in line and max(updates_logged(line)) >= last

        line = [*command, f"--save-dir {folder} --keep-interval-updates 1 --no-epoch-checkpoints"]
        return _run_workers(stop, line) if way == "2 workers" else run_until(stop, *line)

    whole = updates_logged(train(scratch / "whole", float("inf")))
    # The checkpoint before lies in the middle of the epoch, except for the last: there at its end.
    kills = [per_epoch * epoch + middle for epoch, middle in zip(range(EPOCHS), (3, per_epoch // 2 + 1, 1))]
    pieces: dict[int, dict[str, str]] = {}
    for last in (*kills, float("inf")):
        pieces |= updates_logged(train(scratch / "killed", last))
    assert sorted(whole) == sorted(pieces) == list(range(1, per_epoch * EPOCHS + 1)), (
        sorted(whole),
        sorted(pieces),
    )
    apart = max(
        abs(float(value) - float(pieces[update].get(name, "inf")))
        for update, values in whole.items()
        for name, value in values.items()
    )
    states = [
        torch.load(scratch / name / "checkpoint_last.pt", weights_only=True)["model"]
        for name in ("whole", "killed")
    ]
    weights = max(
        (states[0][name].double() - states[1][name].double()).abs().max().item() for name in states[0]
    )
    return Outcome(kills, apart, weights)


def main(argv: list[str] | None = None) -> int:
    """Prints a table; returns 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parser.parse_args(argv)
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="ikd-resume-") as scratch:
        folders = write_folders(Path(scratch, "data"))
        print("| system | trained with | killed after updates | losses differ by | weights differ by |")
        print("|---|---|---|---|---|", flush=True)
        for system in args.systems:
            for way in args.ways:
                runs = Path(scratch, "runs")
                found = compare(folders, system, way, runs)
                shutil.rmtree(runs)
                killed = ", ".join(map(str, found.killed_after))
                print(f"| {system} | {way} | {killed} | {found.losses} | {found.weights} |", flush=True)
                worst = max(worst, found.losses, found.weights)
    return int(worst > 0)


if __name__ == "__main__":
    sys.exit(main())
