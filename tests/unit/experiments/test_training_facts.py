"""What checkpoints and data folders tell the record: sizes, options, fingerprints, and why training ended."""

import argparse
import hashlib

import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.systems import SYSTEMS, derive
from ikd_fairseq.experiments.training_facts import model_facts, stopped_by, training_facts
from tests.prepared_data import write_test_sets

WEIGHT = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
MODEL = {
    "encoder.embed_tokens.weight": WEIGHT,
    "decoder.embed_tokens.weight": WEIGHT,
    "decoder.layers.0.fc1.bias": torch.ones(3),
    "student.to_image.weight": torch.ones(50),
    "encoder.generator.batch_norm.running_mean": torch.ones(7),
    "encoder.version": torch.ones(1),
}
CONFIG = {
    "common": {"seed": 3},
    "model": argparse.Namespace(arch="ikd_transformer", dropout=0.3),
    "task": {"data": "data"},
    "optimization": {"max_update": 8},
    "checkpoint": {"patience": 10},
    "bpe": None,
}
PROCESS = {"code": {"version": "1", "commit": "c"}, "versions": {"torch": "2"}, "peak_memory_mb": 700}


def state_of(updates=8, epoch=3, **changes) -> dict:
    return {
        "model": MODEL,
        "optimizer_history": [{"num_updates": updates}],
        "extra_state": {"previous_training_time": 90.0, "train_iterator": {"epoch": epoch}},
        "task_state": {"process": PROCESS},
        "cfg": CONFIG,
        **changes,
    }


@pytest.fixture
def run(tmp_path, write_text_split):
    """A run of eight updates, and its data."""
    for split in ("train", "test"):
        write_text_split(tmp_path / "data", split, 4)
    write_test_sets(tmp_path / "data", ("test",), ["a"] * 4, [0, 2])
    (tmp_path / "data" / "dict.de.txt").write_text("ein 1\n")
    torch.save(state_of(), tmp_path / "checkpoint_last.pt")
    return tmp_path


def test_training_tells_system_options_time_and_what_the_process_was(run):
    system = derive("l1", "ikd", ["--distance", "l1"])
    facts = training_facts(run, system, run / "data", {"text": "original"})
    assert [facts[name] for name in ("system", "like", "images")] == ["l1", "ikd", "training"]
    assert [facts[name] for name in ("seed", "pair", "updates", "epochs")] == [3, "en-de", 8, 2]
    assert (
        facts["options"]["model"] == {"arch": "ikd_transformer", "dropout": 0.3}
        and "bpe" not in facts["options"]
    )
    assert facts["steps"] == {"train": {"seconds": 90.0, "peak_memory_mb": 700}}
    assert facts["code"]["commit"] == "c" and "hardware" not in facts and facts["stopped_by"] == "max_update"
    assert facts["labels"] == {"text": "original"}


def test_data_are_known_by_fingerprint_size_and_coverage(run):
    data = training_facts(run, SYSTEMS["ikd"], run / "data")["data"]
    assert data["dictionaries"] == {"dict.de.txt": hashlib.sha256(b"ein 1\n").hexdigest()}
    test, train = data["splits"]["test"], data["splits"]["train"]
    assert (test["sentences"], test["sentences_with_image"], test["image_size"]) == (4, 2, 2)
    assert {"test.images.npy", "test.images.index.npy", "test.en-de.de.bin"} <= set(test["files"])
    content = (run / "data" / "train.en-de.en.bin").read_bytes()
    assert train["files"]["train.en-de.en.bin"] == hashlib.sha256(content).hexdigest()
    assert "sentences_with_image" not in train


def test_checkpoints_without_facts_of_their_process_do(run):
    torch.save(state_of(task_state={}), run / "checkpoint_last.pt")
    facts = training_facts(run, SYSTEMS["ikd"], run / "data")
    assert "versions" not in facts and facts["steps"] == {"train": {"seconds": 90.0}}


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"optimization": {"max_update": 8}}, "max_update"),
        ({"optimization": {"max_update": 9, "max_epoch": 2}}, "max_epoch"),
        ({"optimization": {"stop_time_hours": 0.02}}, "stop_time_hours"),
        ({"optimization": {"max_update": 9}, "checkpoint": {"patience": 10}}, "patience"),
        ({"optimization": {"max_update": 9}, "checkpoint": {"patience": -1}}, ""),
    ],
)
def test_why_training_ended(options, reason):
    assert stopped_by(state_of(), options) == reason


def test_size_counts_what_translating_needs_and_tied_weights_once(run):
    state = state_of()
    state["extra_state"]["averaged_checkpoints"] = [{}, {}]
    torch.save(state, run / "average.pt")
    facts = model_facts(run / "average.pt", state)
    assert (facts["checkpoint"], facts["averaged"]) == ("average.pt", 2)
    assert facts["parameters"] == 4 + 3 + 50 and facts["decoding_parameters"] == 4 + 3
    assert facts["decoding_parameters_not_zero"] == 3 + 3
    assert facts["sha256"] == hashlib.sha256((run / "average.pt").read_bytes()).hexdigest()
    assert facts["megabytes"] == (run / "average.pt").stat().st_size / 1e6
    (run / "packed.pt").write_bytes(bytes(2_000_000))
    assert model_facts(run / "average.pt", state)["megabytes"] == 2.0


def test_a_training_without_last_checkpoints_is_told_by_that_of_its_last_epoch(run):
    (run / "checkpoint_last.pt").rename(run / "checkpoint10.pt")
    (run / "checkpoint9.pt").write_bytes(b"an earlier one")
    assert training_facts(run, SYSTEMS["ikd"], run / "data")["updates"] == 8


def test_missing_data_and_checkpoints_are_named(run, tmp_path):
    with pytest.raises(IkdError, match="data folder .*nowhere does not exist: give .* by --data"):
        training_facts(run, SYSTEMS["ikd"], tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(IkdError, match="empty holds no binarised text"):
        training_facts(run, SYSTEMS["ikd"], tmp_path / "empty")
    with pytest.raises(IkdError, match="checkpoint_last.pt: there is no such file"):
        training_facts(tmp_path / "empty", SYSTEMS["ikd"], run / "data")
