"""The shape of Table 1's plan on toy data, through Snakemake, killed in the middle."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.integration.command_line import CHECKOUT, MODEL, warm_environment
from tests.integration.conftest import COLOURS, write_split

RECIPES = CHECKOUT / "examples" / "multi30k"
PLAN = f"""\
title: Two toy systems
seeds: [1, 2]
protocol:
  updates: 25
  average: 2
  options: >
    {" ".join(MODEL.split())} --max-tokens 200 --update-freq 1 --warmup-updates 4
    --num-workers 0 --log-interval 1
systems:
  - text
  - {{name: mine, like: ikd, options: --unpool depthwise --kd-images-per-batch 2, title: Mine}}
baseline: text
table: systems
"""
TIMES = ("training, min", "sentences/s")  # columns that differ from run to run


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Coloured things, every other one with a picture, prepared by prepare.sh."""
    folder = tmp_path_factory.mktemp("grids")
    for name in ("text", "image_splits", "images"):
        (folder / "raw" / name).mkdir(parents=True)
    for colour, value in COLOURS.items():
        Image.new("RGB", (8, 8), value).save(folder / "raw" / "images" / f"{colour}.png")
    for seed, (split, count) in enumerate({"train": 48, "val": 6, "test": 8}.items()):
        write_split(folder, split, count, range(0, count, 2), seed)
        for language in ("en", "de"):
            (folder / f"{split}.{language}").rename(
                folder / "raw" / "text" / f"{split}.lc.norm.tok.{language}"
            )
        names = (folder / f"{split}.images.txt").read_text().splitlines()
        (folder / "raw" / "image_splits" / f"{split}.txt").write_text(
            "".join(f"{name or 'missing.png'}\n" for name in names)
        )
    command = ["bash", RECIPES / "prepare.sh", folder / "raw", folder / "data", "--merges", "40"]
    subprocess.run([*command, "--image-size", "64", "--workers", "1"], env=warm_environment(), check=True)
    return folder / "data"


@pytest.fixture
def start(data, tmp_path):
    """Starts the workflow as the leader of a group of processes."""

    def start(out: str, *options: str) -> subprocess.Popen:
        (tmp_path / "toy.yaml").write_text(PLAN, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            RECIPES / "Snakefile",
            "--cores",
            "2",
            *options,
        ]
        return subprocess.Popen(
            [*command, "--config", "plan=toy.yaml", f"data={data}", f"out={out}"],
            cwd=tmp_path,
            env={**warm_environment(), "METEOR_JAR": "none", "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output[-6000:]


def wait_for_checkpoint(grid: Path, process: subprocess.Popen) -> None:
    """Returns when a training has saved its second epoch and goes on."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        for saved in grid.glob("en-de/*/checkpoint2.pt"):
            if not (saved.parent / "trained").exists() and not (saved.parent / "checkpoint5.pt").exists():
                return
        time.sleep(0.02)
    raise AssertionError("no training was seen in the middle")


def figures(folder: Path) -> list[dict[str, str]]:
    with open(folder / "toy.tsv", encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream, delimiter="\t") if not set(row.values()) & set(TIMES)]


def test_a_grid_that_was_killed_ends_in_the_table_of_one_that_was_not(start, tmp_path):
    grid, whole = tmp_path / "grid", tmp_path / "whole"
    process = start("grid")
    wait_for_checkpoint(grid, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    begun = {path.parent for path in grid.glob("en-de/*/checkpoint_last.pt")}
    cut_off = sorted(run.name for run in begun if not (run / "trained").exists())
    assert cut_off and not (grid / "toy.md").exists()

    finish(start("grid", "--unlock"))
    finish(start("grid"))
    for name in cut_off:
        log = (grid / "en-de" / name / "train.log").read_text()
        (update,) = re.findall(r"Loaded checkpoint .* \(epoch \d+ @ (\d+) updates\)", log)
        assert int(update) > 0, name

    # What was not cut off is the same in a grid that never was.
    shutil.copytree(grid, whole, ignore=shutil.ignore_patterns(*cut_off, "toy.*"))
    finish(start("whole"))
    rows = figures(grid)
    assert rows == figures(whole) and {row["system"] for row in rows} == {
        "Transformer (Vaswani et al. 2017)",
        "Mine",
    }
    assert "Two toy systems" in (grid / "toy.md").read_text()
    for name in cut_off:
        resumed, uninterrupted = (
            torch.load(folder / "en-de" / name / "average.pt", weights_only=True)["model"]
            for folder in (grid, whole)
        )
        for key, value in resumed.items():
            assert torch.equal(value, uninterrupted[key]), (name, key)
