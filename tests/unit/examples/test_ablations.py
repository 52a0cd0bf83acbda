"""The table of variants on figures set by hand."""

import json
import statistics
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
sys.path.insert(0, str(RECIPES))

import ablations  # noqa: E402  the folder of the example is no package


def write_score(folder, system, seed, split, bleu, signature="case:lc"):
    run = folder / f"{system}-seed{seed}"
    run.mkdir(exist_ok=True)
    report = {"scores": {"bleu": {"score": bleu, "signature": signature}}}
    (run / f"score-{split}.json").write_text(json.dumps(report))


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
