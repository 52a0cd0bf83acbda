"""Numbers are those of the score files; runs of one seed are tested; what does not compare is refused."""

import statistics

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import make_scorers
from ikd_fairseq.evaluation.significance import compare_runs
from ikd_fairseq.experiments.comparison import compare_systems, group_systems
from ikd_fairseq.experiments.record import ALL, WITH_IMAGE, Metric, Record
from tests.finished_runs import REFERENCES, spoilt, write_run

TRIALS = 100


@pytest.fixture
def systems(tmp_path):
    """Systems from translations by folder and split."""

    def of(runs):
        return group_systems(
            Record.load(write_run(tmp_path / name, splits, trained=False)) for name, splits in runs.items()
        )

    return of


def test_means_deviations_differences_and_p_are_those_of_the_files(systems):
    lines = {"a-seed1": spoilt(2), "a-seed2": spoilt(3), "b-seed1": spoilt(20), "b-seed2": spoilt(10)}
    found = systems({name: {"test": own} for name, own in lines.items()})
    scores = compare_systems(found, ["test"], "a", trials=TRIALS)
    stored = {run.name: run.score("test").metrics["bleu"].value for own in found.values() for run in own}
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
    assert scores.names == {"bleu": "BLEU", "chrf": "chrF2"} and scores.sentences["test"].count == len(
        REFERENCES
    )
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
    scores = compare_systems(found, ["test"], "a", trials=TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert len(outcome.scores) == 2 and len(outcome.differences) == len(outcome.p_values) == 1
    theirs, other = (scores.outcomes["bleu", name, "test"] for name in "ac")
    assert outcome.differences[0] == pytest.approx(outcome.scores[0] - theirs.scores[1])
    assert other.p_values == () and other.differences == ()
    assert scores.notes == ["test: c and a have no run of the same seed, so they were not tested."]


def test_missing_translations_and_scores_are_said_and_the_scores_there_are_stay(systems):
    found = systems({"a": {"test": spoilt(2), "test1": spoilt(2)}, "b": {"test": spoilt(5)}})
    (found["b"][0].folder / "generate-test.txt").unlink()
    scores = compare_systems(found, ["test", "test1"], "a", trials=TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert outcome.p_values == () and outcome.difference
    assert ("bleu", "b", "test1") not in scores.outcomes
    first, second = scores.notes
    assert first.startswith("test: b not tested against a: ")
    assert first.endswith("generate-test.txt is missing.")
    assert second == "test1: no score of b."


def test_translations_that_are_not_those_of_the_score_are_not_tested(systems):
    found = systems({"a": {"test": spoilt(2)}, "b": {"test": spoilt(5)}})
    path = found["b"][0].folder / "generate-test.txt"
    assert compare_systems(found, ["test"], "a", trials=TRIALS).outcomes["bleu", "b", "test"].p_values
    path.write_text(path.read_text(encoding="utf-8").replace("-0.5\tder", "-0.5\tdas"), encoding="utf-8")
    scores = compare_systems(found, ["test"], "a", trials=TRIALS)
    assert scores.outcomes["bleu", "b", "test"].p_values == ()
    assert "but" in scores.notes[0] and "run.json says" in scores.notes[0]


def test_scores_of_other_sentences_or_settings_are_refused(systems):
    with pytest.raises(
        IkdError, match="is of 40 sentences, but that of .* of 9: these scores do not compare"
    ):
        compare_systems(systems({"a": {"test": spoilt(2)}, "b": {"test": spoilt(5)[:9]}}), ["test"])


def test_scores_on_sentences_with_images_never_meet_those_on_all(tmp_path):
    runs = [
        Record.load(write_run(tmp_path / name, {"test": spoilt(every)}, trained=False, pictured=30))
        for name, every in (("a", 2), ("b", 9))
    ]
    systems = group_systems(runs)
    whole, pictured = (
        compare_systems(systems, ["test"], "a", group, trials=TRIALS) for group in (ALL, WITH_IMAGE)
    )
    assert (whole.sentences["test"].count, pictured.sentences["test"].count) == (40, 30)
    assert whole.outcomes["bleu", "b", "test"].scores != pictured.outcomes["bleu", "b", "test"].scores
    assert pictured.outcomes["bleu", "b", "test"].p_values
    runs[1].scores["test"] = runs[1].scores["test"][1:]  # as of a system that needs images
    assert ("bleu", "b", "test") not in compare_systems(systems, ["test"], "a").outcomes


def test_signatures_that_differ_are_refused(systems):
    found = systems({"c": {"test": spoilt(2)}, "d": {"test": spoilt(5)}})
    metrics = found["d"][0].score("test").metrics
    metrics["bleu"] = Metric("BLEU", metrics["bleu"].value, "other")
    with pytest.raises(IkdError, match=r"BLEU of .* \(nrefs.*\) does not compare with .* \(other\)"):
        compare_systems(found, ["test"])


def test_metric_that_sacrebleu_does_not_test_has_a_difference_and_no_p(systems):
    found = systems({"a": {"test": spoilt(2)}, "b": {"test": spoilt(5)}})
    for score, own in zip((40.0, 42.5), found.values()):
        own[0].score("test").metrics["meteor"] = Metric("METEOR", score, "1.5")
    outcome = compare_systems(found, ["test"], "a", trials=TRIALS).outcomes["meteor", "b", "test"]
    assert outcome.difference == 2.5 and outcome.p_values == ()


def test_systems_are_grouped_in_the_order_of_their_seeds(systems):
    found = systems({name: {"test": spoilt(5)} for name in ("ikd-seed10", "text-seed2", "ikd-seed9", "ikd")})
    assert list(found) == ["ikd", "text"] and [run.seed for run in found["ikd"]] == [None, 9, 10]
    with pytest.raises(IkdError, match="are both of ikd and seed 9: leave one of them out"):
        group_systems([*found["ikd"], found["ikd"][1]])
