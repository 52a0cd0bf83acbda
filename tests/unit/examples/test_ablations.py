"""The grid of ablations.sh over stand-ins of the scripts that it calls, and its table on figures set by hand."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from ikd_fairseq.criterions.inversion_distillation import InversionDistillationConfig
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig
from ikd_fairseq.vision.backbones import BACKBONES

RECIPES = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
sys.path.insert(0, str(RECIPES))

import ablations  # noqa: E402  the folder of the example is no package

# What the scripts are called with goes to calls.txt; figures depend on system, seed and split.
TRAIN = """echo "train $(basename "$2") UPDATES=$UPDATES SEED=$SEED ${@:3}" >>"$CALLS"
[[ $(basename "$2") != "$FAILS" ]] || { echo "out of memory"; exit 1; }
touch "$2/checkpoint1.pt" "$2/checkpoint_last.pt"
"""
AVERAGE = """echo "average $*" >>"$CALLS"; touch "$4"
"""
TRANSLATE = """folder=$(dirname "$2"); echo "translate $(basename "$folder") ${@:3}" >>"$CALLS"
name=$(basename "$folder")
bleu=$((${#name} + ${#3})).0
echo '{"scores": {"bleu": {"score": '$bleu', "signature": "case:lc"}}}' >"$folder/score-$3.json"
"""


def write_score(folder, system, seed, split, bleu, signature="case:lc"):
    run = folder / f"{system}-seed{seed}"
    run.mkdir(exist_ok=True)
    report = {"scores": {"bleu": {"score": bleu, "signature": signature}}}
    (run / f"score-{split}.json").write_text(json.dumps(report))


@pytest.fixture
def grid(tmp_path):
    """Runs ablations.sh beside stand-ins; gives status, output and the calls that it made."""
    recipes, data, bin_ = tmp_path / "examples" / "multi30k", tmp_path / "data", tmp_path / "bin"
    for folder in (recipes, data / "reference", data / "bpe", bin_):
        folder.mkdir(parents=True)
    for name in ("ablations.sh", "ablations.py"):
        shutil.copy(RECIPES / name, recipes)
    (tmp_path / "examples" / "set_up.sh").write_text("")
    (recipes / "train.sh").write_text(TRAIN)
    (recipes / "translate.sh").write_text(TRANSLATE)
    tool = bin_ / "ikd-average-checkpoints"
    tool.write_text("#!/usr/bin/env bash\n" + AVERAGE)
    tool.chmod(0o755)
    (data / "code").touch()
    for name in ("test.de", "test1.de"):
        (data / "reference" / name).touch()
    (data / "bpe" / "valid.de").write_text("ein gro@@ ßer hun@@ d\nball@@\n", encoding="utf-8")
    calls = tmp_path / "calls.txt"

    def run(*arguments, fails=""):
        calls.write_text("")
        path = f"{bin_}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(recipes / "ablations.sh"), "--data", str(data), "--out", str(run.runs), *arguments],
            env={**os.environ, "PATH": path, "CALLS": str(calls), "FAILS": fails},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, calls.read_text().splitlines()

    run.runs, run.data = tmp_path / "runs", data
    return run


def test_every_option_of_a_system_is_one_that_training_takes():
    criterion, model = InversionDistillationConfig(), IKDTransformerConfig()
    for name, system in ablations.SYSTEMS.items():
        assert system.kind in ("ikd", "text", "image-must")
        words = system.options.split()
        for option, value in zip(words, [*words[1:], ""]):
            key = option[2:].replace("-", "_")
            if key == "backbone":
                assert value in BACKBONES, name
            elif option.startswith("--"):
                assert hasattr(criterion, key) or getattr(model, key, None) is False, (
                    name
                )  # False: takes no value
    assert all(name in ablations.SYSTEMS for name in BACKBONES)


def test_a_grid_runs_seed_by_seed_and_ends_in_a_table(grid):
    status, output, calls = grid(
        "--systems",
        "base kl text",
        "--seeds",
        "3 4",
        "--updates",
        "7",
        "--average",
        "2",
        "--images-per-batch",
        "5",
        "--",
        "--max-tokens",
        "100",
    )
    assert status == 0, output
    always = "--keep-last-epochs 2 --max-tokens 100"
    assert [call for call in calls if call.startswith("train")] == [
        f"train {name}-seed{seed} UPDATES=7 SEED={seed} {rest}"
        for seed in (3, 4)
        for name, rest in (
            ("base", f"ikd {always} --kd-images-per-batch 5"),
            ("kl", f"ikd {always} --kd-images-per-batch 5 --distance kl"),
            ("text", f"text {always}"),
        )
    ]
    assert calls[1] == f"average --last 2 --output {grid.runs}/base-seed3/average.pt {grid.runs}/base-seed3"
    assert calls[2:4] == ["translate base-seed3 test", "translate base-seed3 test1"]
    # len("base-seed3") + len("test") and so on
    assert "| kl | KL divergence | 12.00 ± 0.00 | 13.00 ± 0.00 | 12.50 ± 0.00 | -2.00 | 2 |" in output
    assert (grid.runs / "ablations.md").read_text() in output


def test_run_again_it_skips_what_is_finished(grid):
    arguments = ("--systems", "base l1", "--seeds", "1")
    grid(*arguments)
    assert grid(*arguments)[2] == []
    (grid.runs / "l1-seed1" / "score-test1.json").unlink()
    assert grid(*arguments)[2] == ["translate l1-seed1 test1"]
    calls = grid("--systems", "base l1", "--seeds", "1 2")[2]
    assert [call.split()[1] for call in calls if call.startswith("train")] == ["base-seed2", "l1-seed2"]


def test_a_failed_run_does_not_stop_the_others_and_is_done_next_time(grid):
    arguments = ("--systems", "base l1 kl", "--seeds", "1")
    status, output, calls = grid(*arguments, fails="l1-seed1")
    assert status == 1 and "runs failed" in output and output.rstrip().endswith("l1-seed1")
    assert "translate kl-seed1 test1" in calls and [call for call in calls if "l1-seed1" in call] == [
        "train l1-seed1 UPDATES=8000 SEED=1 ikd --keep-last-epochs 10 --kd-images-per-batch 0 --distance l1"
    ]
    assert "Not finished, and not counted: l1-seed1." in output
    status, output, calls = grid(*arguments)
    assert status == 0 and {call.split()[1] for call in calls if call.startswith("train")} == {"l1-seed1"}


def test_a_run_with_other_options_is_not_mixed_in(grid):
    grid("--systems", "base", "--seeds", "1", "--updates", "5")
    status, output, calls = grid("--systems", "base", "--seeds", "1", "--updates", "6")
    assert status == 1 and not calls
    assert "base-seed1 was run with other options (updates 5" in output and "choose another --out" in output


def test_discard_leaves_the_average(grid):
    assert grid("--systems", "base", "--seeds", "1", "--discard")[0] == 0
    assert [path.name for path in (grid.runs / "base-seed1").glob("*.pt")] == ["average.pt"]
    assert grid("--systems", "base", "--seeds", "1", "--discard")[2] == []


def test_images_are_read_at_test_by_the_image_must_system_alone(grid):
    (grid.data / "test.images.npy").touch()
    calls = grid("--systems", "base image-must", "--seeds", "1", "--splits", "test")[2]
    assert "translate image-must-seed1 test --with-images" in calls and "translate base-seed1 test" in calls


def test_an_image_must_system_without_images_to_look_at_is_refused_before_any_training(grid):
    (grid.data / "test.images.npy").touch()
    status, output, calls = grid("--systems", "base image-must", "--seeds", "1", "--splits", "test test1")
    assert status == 1 and not calls
    assert f"image-must looks at images, and {grid.data} has none for test1" in output


def test_the_validation_set_has_its_subwords_joined_as_reference(grid):
    status, output, calls = grid("--systems", "base", "--seeds", "1", "--splits", "valid")
    assert status == 0 and "translate base-seed1 valid" in calls
    assert (grid.data / "reference" / "valid.de").read_text(encoding="utf-8") == "ein großer hund\nball\n"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--systems", "base l7"], "l7 is no system; --list prints them"),
        (["--seeds", "one"], "one is not a whole number above 0"),
        (["--splits", "test9"], "--splits test9: .* has no such split"),
        (["--average"], "--average needs a value"),
        (["--max-tokens", "9"], "unknown argument --max-tokens .*come after --"),
        (["--data", "/nowhere"], "--data /nowhere is no folder that prepare.sh made"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(grid, arguments, sentence):
    status, output, calls = grid(*arguments)
    assert status == 1 and not calls
    (line,) = output.splitlines()
    assert re.search(sentence, line)


def test_table_has_means_deviations_and_differences(tmp_path):
    for system, seed, *figures in (
        ("base", 1, 40.0, 30.0),
        ("base", 2, 42.0, 31.0),
        ("l1", 1, 39.5, 30.5),
        ("l1", 2, 40.5, 28.5),
    ):
        for split, bleu in zip(("test", "test1"), figures):
            write_score(tmp_path, system, seed, split, bleu)
    text = ablations.write_table(tmp_path, ["base", "l1"], ["1", "2"], ["test", "test1"])
    lines = text.splitlines()
    assert lines[0] == "| system |  | test | test1 | average | from base | runs |"
    assert lines[2] == "| base | L2, model, both losses | 41.00 ± 1.41 | 30.50 ± 0.71 | 35.75 ± 1.06 |  | 2 |"
    assert lines[3] == "| l1 | L1 | 40.00 ± 0.71 | 29.50 ± 1.41 | 34.75 ± 0.35 | -1.00 | 2 |"
    assert "BLEU: `case:lc`." in lines and "there is no deviation" not in text
    header, base, l1 = [line.split("\t") for line in (tmp_path / "ablations.tsv").read_text().splitlines()]
    row = dict(zip(header, l1))
    assert row["average"] == "34.7500" and row["difference"] == "-1.0000" and row["runs"] == "2"
    assert row["average deviation"] == f"{statistics.stdev([35.0, 34.5]):.4f}"
    assert dict(zip(header, base))["difference"] == ""


def test_one_seed_has_no_deviation_and_says_so(tmp_path):
    write_score(tmp_path, "base", 1, "test", 40.0)
    write_score(tmp_path, "l1", 1, "test", 39.0)
    text = ablations.write_table(tmp_path, ["base", "l1"], ["1"], ["test"])
    assert "| l1 | L1 | 39.00 | 39.00 | -1.00 | 1 |" in text and "±" not in text
    assert "Every system: one run, so there is no deviation" in text


def test_without_base_there_are_no_differences_and_the_table_says_so(tmp_path):
    write_score(tmp_path, "l1", 1, "test", 39.0)
    text = ablations.write_table(tmp_path, ["base", "l1"], ["1"], ["test"])
    assert "| l1 | L1 | 39.00 | 39.00 |  | 1 |" in text
    assert "No finished run of base" in text and "not counted: base-seed1." in text


def test_scores_that_do_not_compare_are_refused(tmp_path):
    write_score(tmp_path, "base", 1, "test", 40.0)
    write_score(tmp_path, "l1", 1, "test", 39.0, signature="case:mixed")
    with pytest.raises(ablations.TableError, match="case:lc.*does not compare.*case:mixed"):
        ablations.write_table(tmp_path, ["base", "l1"], ["1"], ["test"])
    (tmp_path / "l1-seed1" / "score-test.json").write_text("{")
    with pytest.raises(ablations.TableError, match="score-test.json is no score of ikd-score"):
        ablations.write_table(tmp_path, ["base", "l1"], ["1"], ["test"])
    with pytest.raises(ablations.TableError, match="no finished run"):
        ablations.write_table(tmp_path, ["kl"], ["1"], ["test"])
