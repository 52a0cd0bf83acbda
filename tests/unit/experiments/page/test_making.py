"""What a record tells is shown once a system, and options where they differ."""

from ikd_fairseq.experiments.comparison import group_systems
from ikd_fairseq.experiments.page.making import how_it_was_made
from ikd_fairseq.experiments.record import Record
from tests.finished_runs import spoilt, write_run


def made(tmp_path, *names, trained=True):
    runs = [write_run(tmp_path / name, {"test": spoilt(5)}, trained) for name in names]
    return group_systems([Record.load(run) for run in runs])


def test_values_that_runs_share_are_given_once_and_others_all(tmp_path):
    facts = dict(how_it_was_made(made(tmp_path, "ikd-seed1", "ikd-seed2", "text-seed1")).facts)
    assert facts["seed"] == ["1, 2", "1"]
    assert facts["updates"] == ["124", "124"] and facts["images seen"][0] == "in training alone"
    assert facts["folder"][0] == f"{tmp_path / 'ikd-seed1'}, {tmp_path / 'ikd-seed2'}"


def test_compared_options_are_the_main_ones_and_those_that_differ_but_not_between_any_two_runs(tmp_path):
    systems = made(tmp_path, "ikd", "text")
    systems["ikd"][0].options["criterion"] = {"_name": "x", "iam_weight": 2.0}
    systems["text"][0].options["common"] = {"_name": None, "seed": 2, "fp16": None}
    making = how_it_was_made(systems)
    compared = dict(making.compared)
    assert compared["model._name"] == ["ikd_transformer", "text_transformer"]
    assert compared["model.dropout"] == ["0.3", "0.3"]  # a main one
    assert compared["criterion.iam_weight"] == ["2.0", "–"] and compared["common.fp16"] == ["–", "None"]
    assert not {"model.activation_fn", "checkpoint.save_dir", "common.seed", "bpe._name"} & set(compared)
    assert list(compared)[:3] == ["model._name", "criterion._name", "model.backbone"]
    assert ("task.lr", ["0.005"]) in making.options["ikd"]


def test_runs_without_facts_are_named(tmp_path):
    making = how_it_was_made(made(tmp_path, "alone", trained=False))
    assert making.unknown == ["alone"] and making.options == {} and making.compared == []
    assert [label for label, _ in making.facts] == ["folder"]


def test_long_and_short_times_are_in_units_that_suit(tmp_path):
    systems = made(tmp_path, "ikd", "text")
    systems["ikd"][0].steps["train"]["seconds"] = 7500
    assert dict(how_it_was_made(systems).facts)["time of training"] == ["2 h 5 min", "2.8 min"]
