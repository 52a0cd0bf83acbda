"""Numbers are those of the score files; runs of one seed are tested; what does not compare is refused."""

import json
import statistics

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import make_scorers
from ikd_fairseq.evaluation.significance import compare_runs
from ikd_fairseq.experiments.page.runs import group_systems, read_run
from ikd_fairseq.experiments.page.scores import compare_systems
from tests.finished_runs import REFERENCES, spoilt, write_run

TRIALS = 100


@pytest.fixture
def systems(tmp_path):
    """Systems from translations by folder and split."""

    def of(runs):
        return group_systems(
            [read_run(write_run(tmp_path / name, splits, log=False)) for name, splits in runs.items()]
        )

    return of


def test_means_deviations_differences_and_p_are_those_of_the_files(systems):
    lines = {"a-seed1": spoilt(2), "a-seed2": spoilt(3), "b-seed1": spoilt(20), "b-seed2": spoilt(10)}
    found = systems({name: {"test": own} for name, own in lines.items()})
    scores = compare_systems(found, ["test"], TRIALS)
    stored = {run.name: run.scores["test"].metrics["bleu"]["score"] for own in found.values() for run in own}
    outcome = scores.outcomes["bleu", "b", "test"]
    assert outcome.scores == (stored["b-seed1"], stored["b-seed2"])
    assert outcome.deviation == pytest.approx(statistics.stdev(outcome.scores))
    assert outcome.differences == tuple(stored[f"b-seed{seed}"] - stored[f"a-seed{seed}"] for seed in (1, 2))
    plain = compare_runs(
        {"a": [spoilt(2), spoilt(3)], "b": [spoilt(20), spoilt(10)]},
        REFERENCES,
        make_scorers(metrics=["bleu", "chrf"]),
        trials=TRIALS,
    )
    for metric in ("bleu", "chrf"):
        assert scores.outcomes[metric, "b", "test"].p_values == plain[metric].outcomes["b"].p_values
    assert outcome.p_values[0] < 0.05 and outcome.mark
    assert scores.names == {"bleu": "BLEU", "chrf": "chrF2"} and scores.sentences == {"test": len(REFERENCES)}
    assert scores.notes == []


def test_only_runs_of_the_same_seed_are_tested_against_each_other(systems):
    found = systems(
        {
            "a-seed1": {"test": spoilt(2)},
            "a-seed2": {"test": spoilt(3)},
            "b-seed2": {"test": spoilt(10)},
            "b-seed3": {"test": spoilt(4)},
            "c": {"test": spoilt(7)},
        }
    )
    scores = compare_systems(found, ["test"], TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert len(outcome.scores) == 2 and len(outcome.differences) == len(outcome.p_values) == 1
    theirs, other = (scores.outcomes["bleu", name, "test"] for name in "ac")
    assert outcome.differences[0] == pytest.approx(outcome.scores[0] - theirs.scores[1])
    assert other.p_values == () and other.differences == ()
    assert scores.notes == ["test: c and a have no run of the same seed, so they were not tested."]


def test_missing_translations_and_scores_are_said_and_the_scores_there_are_stay(systems):
    found = systems({"a": {"test": spoilt(2), "test1": spoilt(2)}, "b": {"test": spoilt(5)}})
    found["b"][0].translations("test").unlink()
    scores = compare_systems(found, ["test", "test1"], TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert outcome.p_values == () and outcome.difference
    assert ("bleu", "b", "test1") not in scores.outcomes
    first, second = scores.notes
    assert first.startswith("test: b not tested against a: ")
    assert first.endswith("generate-test.txt is missing.")
    assert second == "test1: no score of b."


def test_translations_that_are_not_those_of_the_score_are_not_tested(systems):
    found = systems({"a": {"test": spoilt(2)}, "b": {"test": spoilt(5)}})
    path = found["b"][0].translations("test")
    assert compare_systems(found, ["test"], TRIALS).outcomes["bleu", "b", "test"].p_values
    path.write_text(path.read_text(encoding="utf-8").replace("-0.5\tder", "-0.5\tdas"), encoding="utf-8")
    scores = compare_systems(found, ["test"], TRIALS)
    assert scores.outcomes["bleu", "b", "test"].p_values == ()
    assert "but" in scores.notes[0] and "score-test.json says" in scores.notes[0]


def test_scores_of_other_sentences_or_settings_are_refused(systems):
    with pytest.raises(IkdError, match="is of 40 sentences, but .* of 9: these scores do not compare"):
        compare_systems(systems({"a": {"test": spoilt(2)}, "b": {"test": spoilt(5)[:9]}}), ["test"])


def test_signatures_that_differ_are_refused(systems):
    found = systems({"c": {"test": spoilt(2)}, "d": {"test": spoilt(5)}})
    path = found["d"][0].scores["test"].path
    content = json.loads(path.read_text())
    content["scores"]["bleu"]["signature"] = "other"
    path.write_text(json.dumps(content))
    again = group_systems([read_run(own[0].folder) for own in found.values()])
    with pytest.raises(IkdError, match=r"BLEU of .* \(nrefs.*\) does not compare with .* \(other\)"):
        compare_systems(again, ["test"])


def test_metric_that_sacrebleu_does_not_test_has_a_difference_and_no_p(systems):
    found = systems({"a": {"test": spoilt(2)}, "b": {"test": spoilt(5)}})
    for score, own in zip((40.0, 42.5), found.values()):
        own[0].scores["test"].metrics["meteor"] = {"name": "METEOR", "score": score, "signature": "1.5"}
    outcome = compare_systems(found, ["test"], TRIALS).outcomes["meteor", "b", "test"]
    assert outcome.difference == 2.5 and outcome.p_values == ()
