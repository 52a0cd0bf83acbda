"""ikd-record: steps on the command line, what they print, refusals. What they record has tests beside it."""

import argparse
import hashlib
from pathlib import Path

import pytest
import torch

from ikd_fairseq.cli import record as command
from ikd_fairseq.constants import DICTIONARIES, LANGUAGES
from ikd_fairseq.evaluation.meteor import Meteor
from ikd_fairseq.experiments.record import ALL, WITH_IMAGE, Record
from tests.prepared_data import write_test_sets
from tests.records import PICTURED, REFERENCES, bleu, spoilt, write_output

STATE = {
    "model": {"decoder.w": torch.ones(4), "student.w": torch.ones(5)},
    "optimizer_history": [{"num_updates": 7}],
    "extra_state": {"previous_training_time": 6.0},
    "cfg": {
        "common": {"seed": 2},
        "optimization": {"max_update": 7},
        "model": argparse.Namespace(arch="ikd_transformer"),
    },
}


@pytest.fixture
def paths(tmp_path, write_text_split):
    """A trained run whose translations are wrong where there are images, and its data."""
    data, run = tmp_path / "data", tmp_path / "run"
    run.mkdir()
    for split in ("train", "test"):
        write_text_split(data, split, 40)
    write_test_sets(data, ("test",), REFERENCES, PICTURED)
    write_output(run / "generate-test.txt", spoilt(PICTURED))
    for name in ("checkpoint_last.pt", "average.pt"):
        torch.save(STATE, run / name)
    return str(run), str(data)


def test_training_and_a_translation_are_recorded_and_scores_printed(paths, capsys):
    run, data = paths
    labels = ["--label", "text=colour", "--label", "a=b"]
    assert not command.main(["train", run, "--data", data, "--system", "l1", "--like", "ikd", *labels])
    assert not command.main(["score", run, "--data", data, "--split", "test", "--samples", "1"])
    record = Record.load(run)
    assert (record.system, record.like, record.seed, record.images) == ("l1", "ikd", 2, "training")
    assert record.labels == {"text": "colour", "a": "b"} and record.updates == 7
    assert (record.model["parameters"], record.model["decoding_parameters"]) == (9, 4)
    assert record.score("test", ALL).metrics["bleu"].value == pytest.approx(bleu(spoilt(PICTURED)))
    assert list(record.score("test", WITH_IMAGE).metrics) == ["bleu", "chrf", "ter"]
    printed = capsys.readouterr().out
    assert "40 sentences (all), tokenised, beam 5" in printed and "20 sentences (with image)" in printed
    assert f"BLEU    {bleu(spoilt(PICTURED)):.2f}  nrefs:1|case:lc|" in printed
    assert f"  reference   {REFERENCES[20]}" in printed and f"  hypothesis  {spoilt(PICTURED)[20]}" in printed


def test_a_score_says_which_checkpoint_and_search_made_it(paths, capsys):
    run = Path(paths[0])
    (run / "average.pt").rename(run / "best.pt")
    write_output(run / "generate-test.lenpen-2.txt", REFERENCES)
    score = ["score", paths[0], "--data", paths[1], "--split", "test", "--metrics", "bleu"]
    command.main([*score, "--checkpoint", str(run / "best.pt")])
    command.main([*score, "--output", "generate-test.lenpen-2.txt", "--search=--lenpen 2"])
    record = Record.load(run)
    digest = hashlib.sha256((run / "best.pt").read_bytes()).hexdigest()
    assert {one.checkpoint for one in record.scores["test"]} == {record.model["sha256"]} == {digest}
    assert record.score("test").metrics["bleu"].value == pytest.approx(bleu(spoilt(PICTURED)))
    assert [(one.search, one.checkpoint) for one in record.searches["test"]] == [("--lenpen 2", "")] * 2
    assert "40 sentences (all), tokenised, beam 5, --lenpen 2 (in no table)" in capsys.readouterr().out


def test_a_translation_without_training_facts_is_recorded_too(paths):
    run, data = paths
    command.main(["score", run, "--data", data, "--split", "test", "--with-images", "--metrics", "bleu"])
    record = Record.load(run)
    assert record.system == "run" and [score.sentences.group for score in record.scores["test"]] == [
        WITH_IMAGE
    ]


def test_a_model_of_the_other_direction_is_scored_in_its_language(paths):
    run, data = map(Path, paths)
    (data / "reference" / "test.en").write_text("".join(f"{line}\n" for line in spoilt(PICTURED)))
    state = {**STATE, "task_state": {DICTIONARIES: {LANGUAGES: "de-en"}}}
    for name in ("checkpoint_last.pt", "average.pt"):
        torch.save(state, run / name)
    command.main(["train", str(run), "--data", str(data), "--system", "text"])
    assert Record.load(run).pair == "de-en"
    command.main(["score", str(run), "--data", str(data), "--split", "test", "--metrics", "bleu"])
    record = Record.load(run)
    assert record.pair == "de-en" and record.score("test").metrics["bleu"].value == pytest.approx(100)


def test_meteor_is_left_out_where_it_is_not_there_and_the_log_says_why(paths, monkeypatch, capsys):
    run, data = paths
    monkeypatch.setenv("METEOR_JAR", "/nowhere/meteor.jar")
    assert not command.main(["score", run, "--data", data, "--split", "test", "--meteor"])
    assert "no METEOR: METEOR_JAR /nowhere/meteor.jar" in capsys.readouterr().err
    assert "meteor" not in Record.load(run).score("test").metrics

    class Found:
        def score(self, hypotheses, references):
            return {"name": "METEOR", "score": 50.0, "signature": "METEOR 1.5"}

    monkeypatch.setattr(Meteor, "find", lambda *_: Found())
    command.main(["score", run, "--data", data, "--split", "test", "--meteor"])
    assert Record.load(run).score("test", WITH_IMAGE).metrics["meteor"].value == 50.0


def test_speeds_are_recorded_by_name(paths, tmp_path, capsys):
    run, _ = paths
    log = tmp_path / "speed.txt"
    log.write_text("| Translated 9 sentences (9 tokens) in 2.0s (4.50 sentences/s, 4.50 tokens/s)\n")
    command.main(["speed", run, "--output", str(log), "--name", "beam 1, batch 64"])
    assert Record.load(run).speeds == {"beam 1, batch 64": 4.5}
    log.write_text("killed")
    assert command.main(["speed", run, "--output", str(log), "--name", "x"]) == 1
    assert "has no line 'Translated ... sentences'" in capsys.readouterr().err


def test_what_cannot_be_recorded_is_refused_in_a_sentence(paths, capsys):
    run, data = paths
    for arguments, words in (
        (["train", run, "--system", "l1"], "system l1 is none of: "),
        (["train", run, "--system", "text", "--like", "ikd"], "text is a system already"),
        (
            ["score", run, "--data", data, "--split", "test1"],
            "generate-test1.txt is missing: translate",
        ),
    ):
        assert command.main(arguments) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["train", run, "--system", "ikd", "--label", "text"])
    assert "'text' is no NAME=VALUE" in capsys.readouterr().err
