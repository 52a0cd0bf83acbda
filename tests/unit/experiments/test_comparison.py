"""Numbers are those of the records; runs of one seed are tested; what does not compare is refused."""

import dataclasses
import statistics

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import make_scorers
from ikd_fairseq.evaluation.significance import compare_runs
from ikd_fairseq.experiments.comparison import compare_systems, group_systems, read_translations
from ikd_fairseq.experiments.record import ALL, WITH_IMAGE, Metric, Record, Sentences, find_records
from tests.records import PICTURED, REFERENCES, add_run, bleu, score_of, spoilt, write_output

TRIALS = 100
GOOD, POOR = spoilt(range(0, 40, 5)), spoilt(range(40))


@pytest.fixture
def systems(tmp_path):
    """Systems from translations by run and split."""

    def of(runs, **facts):
        for name, splits in runs.items():
            add_run(tmp_path, name, splits, **facts)
        return group_systems(find_records([tmp_path]))

    return of


def change_score(run: Record, split: str, **changes) -> None:
    score = dataclasses.replace(run.scores[split][0], **changes)
    run.scores[split] = [score, *run.scores[split][1:]]


def test_means_deviations_differences_and_p_are_those_of_the_records(systems):
    lines = {"a-seed1": GOOD, "a-seed2": GOOD, "b-seed1": POOR, "b-seed2": spoilt(range(30))}
    found = systems({name: {"test": own} for name, own in lines.items()})
    scores = compare_systems(found, ["test"], "a", trials=TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert outcome.scores == pytest.approx((bleu(POOR), bleu(spoilt(range(30)))))
    assert outcome.deviation == pytest.approx(statistics.stdev(outcome.scores))
    assert outcome.differences == pytest.approx([score - bleu(GOOD) for score in outcome.scores])
    runs = {"a": [GOOD, GOOD], "b": [POOR, spoilt(range(30))]}
    plain = compare_runs(runs, REFERENCES, make_scorers(metrics=["bleu"]), trials=TRIALS)["bleu"]
    assert outcome.p_values == plain.outcomes["b"].p_values
    assert max(outcome.p_values) < 0.05 and outcome.mark
    assert (
        [metric.name for metric in scores.metrics.values()] == ["BLEU"]
        and scores.sentences["test"].count == 40
        and scores.notes == []
    )
    assert compare_systems(found, ["test"], "a", trials=0).outcomes["bleu", "b", "test"].p_values == ()
    assert compare_systems(found, ["test"]).outcomes["bleu", "b", "test"].differences == ()


def test_sentences_with_an_image_are_tested_alone(systems):
    found = systems({"a-seed1": {"test": POOR}, "b-seed1": {"test": spoilt(range(1, 40, 2))}})
    scores = compare_systems(found, ["test"], "a", WITH_IMAGE, trials=TRIALS)
    assert scores.outcomes["bleu", "b", "test"].scores == pytest.approx((100,))
    assert scores.outcomes["bleu", "b", "test"].mark == "‡" and scores.sentences["test"].count == len(
        PICTURED
    )


def test_only_runs_of_the_same_seed_are_tested_against_each_other(systems):
    names = ("a-seed1", "a-seed2", "b-seed2", "b-seed3", "c-seed9")
    found = systems({name: {"test": spoilt(range(3 + place))} for place, name in enumerate(names)})
    scores = compare_systems(found, ["test"], "a", trials=TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert len(outcome.scores) == 2 and len(outcome.differences) == len(outcome.p_values) == 1
    theirs, other = (scores.outcomes["bleu", name, "test"] for name in "ac")
    assert outcome.differences[0] == pytest.approx(outcome.scores[0] - theirs.scores[1])
    assert other.p_values == () and other.differences == ()
    assert scores.notes == []


def test_missing_translations_and_scores_are_said_and_the_scores_there_are_stay(systems):
    found = systems({"a-seed1": {"test": GOOD, "test1": GOOD}, "b-seed1": {"test": POOR}})
    (found["b"][0].folder / "generate-test.txt").unlink()
    scores = compare_systems(found, ["test", "test1"], "a", trials=TRIALS)
    outcome = scores.outcomes["bleu", "b", "test"]
    assert outcome.p_values == () and outcome.difference
    assert ("bleu", "b", "test1") not in scores.outcomes
    first, second = scores.notes
    assert first.startswith("test: b not tested against a: ")
    assert first.endswith("generate-test.txt is missing.")
    assert second == "test1: no score of b-seed1."


def test_translations_that_are_not_those_of_the_score_are_not_tested(systems):
    found = systems({"a-seed1": {"test": GOOD}, "b-seed1": {"test": POOR}})
    assert compare_systems(found, ["test"], "a", trials=TRIALS).outcomes["bleu", "b", "test"].p_values
    write_output(found["b"][0].folder / "generate-test.txt", spoilt(range(9)))
    scores = compare_systems(found, ["test"], "a", trials=TRIALS)
    assert scores.outcomes["bleu", "b", "test"].p_values == ()
    assert "but" in scores.notes[0] and "run.json says" in scores.notes[0]


def test_scores_of_other_sentences_are_refused(systems):
    found = systems({"a-seed1": {"test": GOOD}, "b-seed1": {"test": POOR}})
    shorter = score_of(POOR, ALL, range(9), "generate-test.txt").sentences
    change_score(found["b"][0], "test", sentences=shorter)
    with pytest.raises(
        IkdError, match=r"is of 40 sentences, but that of .* of 9: these scores do not compare"
    ):
        compare_systems(found, ["test"], "a")
    others = Sentences.of(ALL, dict.fromkeys(range(40), "x"))
    change_score(found["b"][0], "test", sentences=others)
    with pytest.raises(IkdError, match="is of other sentences .*these scores do not compare"):
        compare_systems(found, ["test"], "a")


def test_sentences_with_an_image_never_meet_all(systems):
    """Not even where a record puts the one under the other's name, or their numbers are equal."""
    found = systems({"a-seed1": {"test": GOOD}, "b-seed1": {"test": POOR}})
    assert [len(compare_systems(found, ["test"], group=group).outcomes) for group in (ALL, WITH_IMAGE)] == [
        2,
        2,
    ]
    mislabelled = dataclasses.replace(found["b"][0].scores["test"][1].sentences, group=ALL, count=40)
    change_score(found["b"][0], "test", sentences=mislabelled)
    with pytest.raises(IkdError, match="other sentences"):
        compare_systems(found, ["test"], "a")


def test_systems_meet_by_the_widest_beam_that_all_were_translated_with(systems):
    found = systems({"a-seed1": {"test": GOOD}, "b-seed1": {"test": POOR}})
    (run,) = found["b"]
    wider = dataclasses.replace(run.scores["test"][0], beam=10, metrics={"bleu": Metric("BLEU", 1.0, "x")})
    run.scores["test"].append(wider)
    scores = compare_systems(found, ["test"])
    assert scores.outcomes["bleu", "b", "test"].mean == pytest.approx(bleu(POOR))
    change_score(run, "test", beam=4)
    with pytest.raises(
        IkdError, match="test was translated with beams of 4, 5, 10, with none of them by all"
    ):
        compare_systems(found, ["test"])


def test_signatures_that_differ_are_refused(systems):
    found = systems({"c-seed1": {"test": GOOD}, "d-seed1": {"test": POOR}})
    change_score(found["d"][0], "test", metrics={"bleu": Metric("BLEU", 1.0, "other")})
    with pytest.raises(IkdError, match=r"BLEU of .* \(nrefs.*\) does not compare with that of .* \(other\)"):
        compare_systems(found, ["test"])


def test_metric_that_sacrebleu_does_not_test_has_a_difference_and_no_p(systems):
    found = systems({"a-seed1": {"test": GOOD}, "b-seed1": {"test": POOR}}, meteor=40.0)
    metrics = found["b"][0].scores["test"][0].metrics
    change_score(found["b"][0], "test", metrics={**metrics, "meteor": Metric("METEOR", 42.5, "METEOR 1.5")})
    outcome = compare_systems(found, ["test"], "a", trials=TRIALS).outcomes["meteor", "b", "test"]
    assert outcome.difference == 2.5 and outcome.p_values == ()


def test_seeds_are_put_in_order_and_two_runs_of_one_are_refused(tmp_path):
    runs = [Record(tmp_path / str(seed), "a", seed=seed) for seed in (2, None, 1)]
    assert [run.seed for run in group_systems(runs)["a"]] == [None, 1, 2]
    with pytest.raises(IkdError, match="are both of a and seed 1: leave one of them out"):
        group_systems([*runs, Record(tmp_path / "again", "a", seed=1)])


def test_references_come_from_their_file_or_from_the_translations(systems, tmp_path):
    found = systems({"a-seed1": {"test": GOOD}})
    run = found["a"][0]
    every, pictured = run.scores["test"]
    assert read_translations(run, every) == (GOOD, REFERENCES)
    assert read_translations(run, pictured)[0] == [GOOD[place] for place in PICTURED]
    (tmp_path / "ref.de").write_text("".join(f"{line[:2]}@@ {line[2:]}\n" for line in REFERENCES))
    subwords = dataclasses.replace(every, references=str(tmp_path / "ref.de"))
    assert read_translations(run, subwords)[1] == REFERENCES
    (tmp_path / "ref.de").write_text("other\n" * 40)
    with pytest.raises(IkdError, match="are not those that it was scored with"):
        read_translations(run, subwords)
