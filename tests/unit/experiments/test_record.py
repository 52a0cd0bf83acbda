"""The record of a run comes back as it was written, grows step by step, and refuses what it cannot read."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.record import (
    ALL,
    FILE,
    WITH_IMAGE,
    Metric,
    Record,
    Score,
    Sentences,
    find_records,
)


def score(value, group=ALL, beam=5, references=("a", "b")) -> Score:
    sentences = Sentences.of(group, dict(enumerate(references)))
    return Score(
        sentences, {"bleu": Metric("BLEU", value, "case:lc")}, beam, "generate-test.txt", "ref.de", 3.5
    )


def test_a_record_comes_back_as_it_was_written(tmp_path):
    facts = {"system": "l1", "like": "ikd", "seed": 3, "labels": {"text": "colour"}, "updates": 7}
    written = Record.update(tmp_path, scores={"test": [score(10.5), score(9.0, WITH_IMAGE)]}, **facts)
    read = Record.load(tmp_path)
    assert read == written and read.scores["test"][0] == score(10.5)
    assert {name: getattr(read, name) for name in facts} == facts
    content = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert content["format"] == 1 and "stopped_by" not in content
    one = content["scores"]["test"][0]
    assert (one["sentences"]["group"], one["sentences"]["count"]) == ("all", 2)
    assert one["metrics"]["bleu"]["value"] == 10.5


def test_steps_add_and_a_score_replaces_that_of_the_same_place(tmp_path):
    Record.update(tmp_path, steps={"train": {"seconds": 1.0}}, scores={"test": [score(1.0)]})
    Record.update(tmp_path, steps={"average": {"seconds": 2.0}}, updates=5)
    record = Record.update(tmp_path, scores={"test": [score(2.0), score(3.0, beam=1)], "test1": [score(4.0)]})
    assert set(record.steps) == {"train", "average"} and record.updates == 5
    assert record.score("test").metrics["bleu"].value == 2.0
    assert record.score("test", beam=1).metrics["bleu"].value == 3.0
    assert record.score("test", WITH_IMAGE) is None and record.score("valid") is None
    assert list(record.scores) == ["test", "test1"] and len(record.scores["test"]) == 2


def test_a_score_by_another_search_stands_apart_and_replaces_none(tmp_path):
    plain, searched = (
        score(1.0),
        replace(score(9.0), search="--lenpen 2", output="generate-test.lenpen-2.txt"),
    )
    Record.update(tmp_path, scores={"test": [plain]})
    record = Record.update(tmp_path, scores={"test": [searched]})
    assert record.scores == {"test": [plain]} and record.score("test") == plain
    assert record.searches == {"test": [searched]} and Record.load(tmp_path) == record


def test_a_score_goes_with_its_output(tmp_path):
    Record.update(tmp_path, scores={"test": [score(1.0), score(2.0, WITH_IMAGE)]})
    again = replace(score(3.0), beam=4, search="--lenpen 2")  # in the same file
    record = Record.update(tmp_path, scores={"test": [again]})
    assert record.scores == {} and record.searches == {"test": [again]}


def test_scores_of_before_go_where_a_run_was_trained_on(tmp_path, caplog):
    Record.update(tmp_path, updates=500)
    Record.update(tmp_path, scores={"test": [score(1.0)]}, model={"averaged": 10})
    assert Record.update(tmp_path, updates=500).scores and not caplog.messages
    record = Record.update(tmp_path, updates=8000)
    assert record.updates == 8000 and record.scores == {} and record.model == {}
    assert "was trained on, or anew: scores of before are left out" in caplog.text


def test_of_a_training_begun_anew_nothing_of_before_stays(tmp_path):
    first = {
        "updates": 8000,
        "seed": 1,
        "steps": {"train": {"seconds": 90.0}},
        "hardware": {"gpus": ["H100"]},
    }
    Record.update(tmp_path, **first)
    Record.update(tmp_path, scores={"test": [score(1.0)]})
    assert Record.update(tmp_path, **first).scores
    for change in ({"seed": 7}, {"steps": {"train": {"seconds": 80.0}}}):
        Record.update(tmp_path, scores={"test": [score(1.0)]}, speeds={"beam 5": 1.0})
        record = Record.update(tmp_path, **{**first, **change, "hardware": {"cores": 2}})
        assert record.scores == {} and record.speeds == {} and record.hardware == {"cores": 2}
        first |= change


def test_several_processes_add_at_once(tmp_path):
    names = [f"beam {number}" for number in range(8)]
    code = "import sys; from ikd_fairseq.experiments.record import Record; "
    code += "Record.update(sys.argv[1], speeds={sys.argv[2]: 1.0})"
    adding = [subprocess.Popen([sys.executable, "-c", code, tmp_path, name]) for name in names]
    assert [process.wait(120) for process in adding] == [0] * len(names)
    assert set(Record.load(tmp_path).speeds) == set(names)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_system_and_seed_are_those_of_the_folder_where_training_told_none(tmp_path):
    for name, expected in (("ikd-seed3", ("ikd", 3)), ("mine", ("mine", None))):
        Record.update(tmp_path / name, updates=1)
        record = Record.load(tmp_path / name)
        assert (record.system, record.seed) == expected and record.name == name


def test_sentences_are_known_by_id_and_reference_and_remember_their_places():
    every = Sentences.of(ALL, {0: "a", 1: "b"})
    assert every == Sentences.of(ALL, {1: "b", 0: "a"}) and every.places() == [0, 1]
    assert every.fingerprint == Sentences.of(WITH_IMAGE, {0: "a", 1: "b"}).fingerprint
    assert every.fingerprint != Sentences.of(ALL, {0: "a", 2: "b"}).fingerprint
    assert every.fingerprint != Sentences.of(ALL, {0: "b", 1: "a"}).fingerprint
    places = [0, 1, 2, 4, 7, 8]
    some = Sentences.of(WITH_IMAGE, dict.fromkeys(places, "x"))
    assert some.ids == "0-2 4 7-8" and some.places() == places
    assert Sentences.of(WITH_IMAGE, {}).places() == []


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for name, message in (
        ("file", "file is no folder"),
        (".", "holds no run.json: score the run with translate.sh"),
    ):
        with pytest.raises(IkdError, match=message):
            Record.load(tmp_path / name)
    for content in ("{", "[]", '{"format": 1, "scores": {"test": [{"group": "all"}]}}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(IkdError, match=r"run\.json is no record of a run"):
            Record.load(tmp_path)
    (tmp_path / FILE).write_text('{"format": 9}')
    with pytest.raises(IkdError, match="format 9, but this version reads 1"):
        Record.load(tmp_path)
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)  # a reader would wait, a writer would put a record in its place
    for use in (Record.load, Record.update):
        with pytest.raises(IkdError, match=r"run\.json is a pipe"):
            use(tmp_path)


def test_records_are_found_at_any_depth_and_a_folder_without_is_refused(tmp_path):
    for name in ("a/en-de/text-seed1", "b"):
        Record.update(tmp_path / name, updates=1)
    assert [record.name for record in find_records([tmp_path / "b", tmp_path])] == ["b", "text-seed1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(IkdError, match="empty holds no finished run"):
        find_records([tmp_path / "empty"])
