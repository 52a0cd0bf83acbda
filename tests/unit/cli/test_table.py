"""ikd-table: which files it writes, in which form, by which plan."""

import shutil
from dataclasses import replace

import pytest

from ikd_fairseq.cli import table as command
from ikd_fairseq.experiments.record import ALL, Record
from tests.records import REFERENCES, add_run, score_of, spoilt, write_output

PLAN = """\
title: Toy
seeds: [1, 2]
systems: [text, {name: mine, like: ikd, options: --kd-weight 2, title: Mine}]
tests: test
table: variants
"""
TAUGHT = """\
title: Toy
seeds: 1
distillation: {teacher: t.pt, students: [{name: nano, like: text}], methods: base}
table: distillation
"""


@pytest.fixture
def runs(tmp_path):
    add_run(tmp_path / "runs", "text-seed1", {"test": spoilt(range(40)), "test1": REFERENCES})
    add_run(tmp_path / "runs", "mine-seed1", {"test": REFERENCES, "test1": REFERENCES}, images="training")
    return tmp_path / "runs"


def test_both_files_are_written_and_the_markdown_is_printed(runs, capsys):
    assert not command.main([str(runs), "--trials", "100"])
    text = (runs / "table.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text and "| mine | 100.00‡ |" in text
    assert "100 resamples" in text
    assert (runs / "table.tsv").read_text(encoding="utf-8").startswith("pair\ttable\tblock\tsystem\t")


def test_one_file_of_any_form_is_written_where_it_is_wanted(runs, tmp_path, capsys):
    output = tmp_path / "t.html"
    arguments = ["--format", "html", "--output", str(output), "--splits", "test", "--layout", "variants"]
    command.main([str(runs), *arguments])
    page = output.read_text(encoding="utf-8")
    assert capsys.readouterr().out == page and "<td>100.00</td>" in page and "test1" not in page
    assert not (runs / "table.md").exists()


def test_a_plan_gives_title_order_layout_and_what_is_missing(runs, tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(PLAN)
    command.main([str(runs), "--plan", str(tmp_path / "plan.yaml"), "--baseline", "text"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# Toy" and "| system | BLEU test (40) | average | from text | seeds |" in lines
    (mine,) = [line for line in lines if line.startswith("| Mine")]
    assert mine.startswith("| Mine | 100.00 | 100.00 | +") and mine.endswith(" | 1 |")
    assert "Mine: `--kd-weight 2`." in lines
    assert (runs / "plan.md").read_text(encoding="utf-8").splitlines() == lines
    assert (runs / "plan.tsv").is_file() and not (runs / "table.md").exists()
    assert "Not finished, and not counted: text-seed2, mine-seed2." in lines
    add_run(runs, "old-seed1", {"test": REFERENCES})
    command.main([str(runs), "--plan", str(tmp_path / "plan.yaml"), "--baseline", "text"])
    assert capsys.readouterr().out.splitlines() == lines


def test_a_teacher_is_of_the_plan_and_a_baseline_outside_it_is_refused(runs, tmp_path, capsys):
    shutil.rmtree(runs)
    for name in ("teacher", "nano-base-seed1", "nano-base-seed2"):
        (runs / name).mkdir(parents=True)
        output = "generate-test.beam1.txt"
        write_output(runs / name / output, REFERENCES)
        greedy = replace(score_of(REFERENCES, ALL, range(40), output), beam=1, probability=0.5)
        Record.update(runs / name, pair="en-de", scores={"test": [greedy]})
    plan = tmp_path / "plan.yaml"
    plan.write_text(TAUGHT)
    command.main([str(runs), "--plan", str(plan)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][2:] == [
        "| teacher",
        "| baseline",
    ]
    assert command.main([str(runs), "--plan", str(plan), "--baseline", "text"]) == 1
    assert "plan.yaml has no such system, only nano-base, teacher" in capsys.readouterr().err


def test_too_few_resamples_and_a_place_that_cannot_be_written_are_refused_before_the_test(runs, capsys):
    output = str(runs / "none" / "table.md")
    for options, sentence in (
        (["--trials", "99"], "give 100 at least"),
        (["--output", output], "make it first"),
    ):
        assert command.main([str(runs), *options]) == 1
        printed = capsys.readouterr()
        assert sentence in printed.err and not printed.out


def test_folders_without_runs_are_refused(tmp_path, capsys):
    for folder, words in ((tmp_path, "holds no finished run"), (tmp_path / "none", "none is no folder")):
        assert command.main([str(folder)]) == 1
        assert words in capsys.readouterr().err


def test_a_baseline_that_is_no_run_is_refused_by_its_name(runs, capsys):
    assert command.main([str(runs), "--baseline", "nothing"]) == 1
    assert (
        "has no run of it, only of mine, text" in capsys.readouterr().err and not (runs / "table.md").exists()
    )
