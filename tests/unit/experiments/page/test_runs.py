"""Run folders, their systems and seeds; folders and scores that are none are refused."""

from pathlib import Path

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.page.runs import choose_splits, group_systems, read_run
from tests.finished_runs import spoilt, write_run

GOOD = spoilt(5)


def test_run_has_what_its_folder_has(tmp_path):
    folder = write_run(tmp_path / "ikd-seed12", {"test": GOOD, "test1": GOOD[:9]})
    (folder / "settings.txt").write_text("updates 10")
    run = read_run(folder)
    assert (run.system, run.seed, run.name) == ("ikd", 12, "ikd-seed12")
    assert sorted(run.scores) == ["test", "test1"] and run.scores["test1"].sentences == 9
    assert run.log.updates == 124 and run.notes == {"settings.txt": "updates 10"}
    assert run.translations("test").is_file()


def test_folder_without_a_seed_in_its_name_is_a_system(tmp_path, monkeypatch):
    write_run(tmp_path / "no-irm", {"test": GOOD}, log=False)
    monkeypatch.chdir(tmp_path / "no-irm")
    run = read_run(Path("."))
    assert (run.system, run.seed, run.name, run.log) == ("no-irm", None, "no-irm", None)


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (("file", "file is no folder"), ("empty", "holds no score-SPLIT.json")):
        with pytest.raises(IkdError, match=message):
            read_run(tmp_path / name)
    folder = write_run(tmp_path / "run", {"test": GOOD})
    for content in ("{", "[]", '{"sentences": 3}', '{"sentences": 3, "preset": "x", "scores": {"bleu": 3}}'):
        (folder / "score-test.json").write_text(content)
        with pytest.raises(IkdError, match=r"score-test\.json is no score of ikd-score"):
            read_run(folder)


def test_systems_are_grouped_with_the_baseline_first_and_seeds_in_order(tmp_path):
    names = ["ikd-seed10", "text-seed2", "ikd-seed9"]
    runs = [read_run(write_run(tmp_path / name, {"test": GOOD}, log=False)) for name in names]
    assert list(group_systems(runs)) == ["ikd", "text"]
    systems = group_systems(runs, "text")
    assert list(systems) == ["text", "ikd"] and [run.seed for run in systems["ikd"]] == [9, 10]
    with pytest.raises(IkdError, match="--baseline x: there is no such system; there are ikd, text"):
        group_systems(runs, "x")
    with pytest.raises(IkdError, match="are both called ikd-seed9"):
        group_systems([*runs, runs[-1]])


def test_splits_are_all_or_those_asked_for(tmp_path):
    runs = [
        read_run(write_run(tmp_path / "a", {"test": GOOD, "test1": GOOD}, log=False)),
        read_run(write_run(tmp_path / "b", {"valid": GOOD}, log=False)),
    ]
    assert choose_splits(runs) == ["test", "test1", "valid"]
    assert choose_splits(runs, ["valid", "test"]) == ["valid", "test"]
    with pytest.raises(IkdError, match="test2: no run has a score of it; there are test, test1, valid"):
        choose_splits(runs, ["test2"])
