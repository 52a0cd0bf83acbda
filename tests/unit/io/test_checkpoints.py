"""Checkpoints: means against numpy, selection of files, what the output keeps, and every refusal."""

import copy
import errno
import math
import os
import resource
import signal
from argparse import Namespace

import numpy as np
import pytest
import torch
from fairseq.checkpoint_utils import load_checkpoint_to_cpu

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io import checkpoints
from ikd_fairseq.io.checkpoints import load_checkpoint
from ikd_fairseq.io.locks import claim
from tests.saved_checkpoints import save, toy_state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_mean_equals_numpy_in_float64(tmp_path, dtype):
    generator = torch.Generator().manual_seed(1)
    models = [
        {
            "a": torch.randn(5, 3, generator=generator).to(dtype),
            "b": torch.randn(4, generator=generator).to(dtype),
        }
        for _ in range(3)
    ]
    paths = [tmp_path / f"{place}.pt" for place in range(3)]
    for place, path in enumerate(paths):
        torch.save(toy_state(models[place], place), path)
    checkpoints.average_checkpoints(paths, tmp_path / "mean.pt")
    result = torch.load(tmp_path / "mean.pt", weights_only=True)["model"]
    for key in ("a", "b"):
        expected = np.mean([model[key].numpy().astype(np.float64) for model in models], axis=0)
        assert result[key].dtype == dtype
        np.testing.assert_array_equal(result[key].numpy(), expected.astype(result[key].numpy().dtype))


def test_half_precision_sums_do_not_overflow():
    models = [{"weight": torch.tensor([60000.0], dtype=torch.float16)} for _ in range(4)]
    assert checkpoints.average_models(models, newest=0)["weight"].item() == 60000.0


def test_counters_come_from_the_checkpoint_with_most_updates(tmp_path):
    paths = []
    for updates in (20, 30, 10):
        model = {"batches": torch.tensor(updates), "seen": torch.tensor([updates > 20])}
        paths.append(tmp_path / f"{updates}.pt")
        torch.save(toy_state(model, updates), paths[-1])
    checkpoints.average_checkpoints(paths, tmp_path / "mean.pt")
    state = torch.load(tmp_path / "mean.pt", weights_only=True)
    assert state["model"]["batches"].item() == 30 and state["model"]["seen"].item() is True
    assert state["cfg"]["model"]["updates_seen"] == 30
    assert state["optimizer_history"][-1]["num_updates"] == 30


def test_tied_parameters_are_stored_once(tmp_path):
    paths = []
    for value in (1.0, 3.0):
        embedding = torch.full((500, 100), value)
        paths.append(tmp_path / f"{value}.pt")
        torch.save(toy_state({"encoder.embed": embedding, "decoder.embed": embedding}), paths[-1])
    checkpoints.average_checkpoints(paths, tmp_path / "mean.pt")
    model = torch.load(tmp_path / "mean.pt", weights_only=True)["model"]
    assert model["encoder.embed"].data_ptr() == model["decoder.embed"].data_ptr()
    assert model["decoder.embed"].unique().tolist() == [2.0]
    assert os.path.getsize(tmp_path / "mean.pt") < 1.1 * 500 * 100 * 4


def test_parameters_tied_in_one_file_alone_are_averaged_apart():
    tied = torch.zeros(2)
    models = [{"a": tied, "b": tied}, {"a": torch.full((2,), 2.0), "b": torch.full((2,), 4.0)}]
    result = checkpoints.average_models(models, newest=0)
    assert result["a"].tolist() == [1.0, 1.0] and result["b"].tolist() == [2.0, 2.0]


def test_output_loads_in_fairseq_without_optimizer_state_and_names_its_sources(tmp_path):
    paths = [save(tmp_path / "a.pt", 1, 5), save(tmp_path / "b.pt", 2, 6)]
    checkpoints.average_checkpoints(paths, tmp_path / "mean.pt")
    state = load_checkpoint_to_cpu(str(tmp_path / "mean.pt"))
    assert "last_optimizer_state" not in state
    assert state["cfg"].task._name == "translation"
    assert state["optimizer_history"][-1]["optimizer_name"] == "FairseqAdam"
    assert state["extra_state"] == {
        "train_iterator": {"epoch": 7},
        "averaged_checkpoints": [{"file": paths[0], "num_updates": 5}, {"file": paths[1], "num_updates": 6}],
    }


def test_inputs_are_not_changed(tmp_path):
    path = save(tmp_path / "a.pt", 1)
    before = open(path, "rb").read()
    checkpoints.average_checkpoints([path, save(tmp_path / "b.pt", 2)], tmp_path / "mean.pt")
    assert open(path, "rb").read() == before


def test_best_is_highest_when_training_maximised_the_metric(tmp_path):
    low, middle, high = (f"checkpoint.best_bleu_{name}.pt" for name in ("9.0000", "38.1207", "41.5303"))
    for name in (low, middle, high):
        save(tmp_path / name, 1, maximise=True)
    assert [path.name for path in checkpoints.select_checkpoints(tmp_path, "best", 2)] == [high, middle]


def test_too_few_checkpoints_are_refused_with_both_numbers(tmp_path):
    for updates in (100, 200, 300):
        save(tmp_path / f"checkpoint_{updates // 100}_{updates}.pt", updates, updates)
    with pytest.raises(IkdError, match="holds 3 checkpoints named checkpoint_EPOCH_UPDATE.pt.*asks for 5"):
        checkpoints.select_checkpoints(tmp_path, "updates", 5)


def test_fewer_will_do_where_asked_but_not_none(tmp_path):
    save(tmp_path / "checkpoint_last.pt", 1)
    with pytest.raises(IkdError, match="holds 0 checkpoints named checkpointN.pt: training ended before"):
        checkpoints.select_checkpoints(tmp_path, "epochs", 2, or_fewer=True)
    for epoch, expected in ((1, [1]), (2, [2, 1]), (3, [3, 2])):
        save(tmp_path / f"checkpoint{epoch}.pt", epoch)
        found = checkpoints.select_checkpoints(tmp_path, "epochs", 2, or_fewer=True)
        assert [path.name for path in found] == [f"checkpoint{one}.pt" for one in expected]


def test_best_of_two_metrics_is_refused(tmp_path):
    for metric in ("bleu", "loss"):
        save(tmp_path / f"checkpoint.best_{metric}_1.0000.pt", 1)
    with pytest.raises(IkdError, match="bleu, loss"):
        checkpoints.select_checkpoints(tmp_path, "best", 1)


@pytest.mark.parametrize(
    "other, message",
    [
        ({"a": torch.zeros(2)}, "b is in the first alone"),
        ({"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(1)}, "c is in the second alone"),
        ({"a": torch.zeros(2), "b": torch.zeros(3)}, r"b has shape \(2,\) and \(3,\)"),
        ({"a": torch.zeros(2), "b": torch.tensor([1, 2])}, "b is of type torch.float32 and torch.int64"),
    ],
)
def test_different_models_are_refused_with_both_files_and_the_first_key(tmp_path, other, message):
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    torch.save(toy_state({"a": torch.zeros(2), "b": torch.zeros(2)}), first)
    torch.save(toy_state(other), second)
    with pytest.raises(IkdError, match=f"first.pt and .*second.pt.*{message}"):
        checkpoints.average_checkpoints([first, second], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


class WritesMarker:
    """Unpickled by an unsafe loader, it makes a folder."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "bad.pt"
    torch.save({**toy_state({"weight": torch.zeros(1)}), "extra": WritesMarker(marker)}, path)
    with pytest.raises(IkdError, match=r"bad.pt is refused: it holds (posix|nt)\.mkdir"):
        load_checkpoint(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # shows that the file is what the test takes it for
    assert marker.exists()


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "damaged.pt"
    whole = open(save(tmp_path / "whole.pt", 1), "rb").read()
    for content in (b"", b"hello world\n", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(IkdError, match="damaged.pt is truncated or is no checkpoint"):
            load_checkpoint(path)
    with pytest.raises(IkdError, match="absent.pt: there is no such file"):
        load_checkpoint(tmp_path / "absent.pt")


@pytest.mark.parametrize("entry", ["model", "optimizer_history", "extra_state"])
def test_a_file_that_fairseq_would_not_load_is_refused_with_the_missing_entry(tmp_path, entry):
    state = toy_state({"weight": torch.zeros(1)})
    del state[entry]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(IkdError, match=f"no checkpoint of fairseq.*'{entry}'"):
        load_checkpoint(tmp_path / "other.pt")


def test_old_non_zip_checkpoints_are_read(tmp_path):
    state = toy_state({"weight": torch.tensor([4.0])})
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_checkpoint(tmp_path / "old.pt")["model"]["weight"].item() == 4.0


def test_a_full_disk_leaves_the_old_output_and_nothing_else(tmp_path, monkeypatch):
    path, output = save(tmp_path / "a.pt", 1), tmp_path / "mean.pt"
    output.write_bytes(b"old")
    files = sorted(os.listdir(tmp_path))

    def fails(state, stream):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(IkdError, match="mean.pt cannot be written .No space left"):
        checkpoints.average_checkpoints([path], output)
    assert output.read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == files


def test_the_reason_of_the_system_is_told_where_pytorch_makes_another_of_it(tmp_path):
    """With a limit on the size of files, which fails as a full disk does."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoints.write_checkpoint({"weight": torch.zeros(1_000_000)}, tmp_path / "a.pt")
        except IkdError as error:
            os._exit(0 if str(error).endswith("a.pt cannot be written (File too large)") else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0 and os.listdir(tmp_path) == []


def test_weights_that_are_not_finite_are_not_averaged(tmp_path):
    paths = [save(tmp_path / "a.pt", 1), save(tmp_path / "b.pt", math.inf)]
    with pytest.raises(IkdError, match=r"b\.pt holds weights that are not finite \(weight\)"):
        checkpoints.average_checkpoints(paths, tmp_path / "mean.pt")
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt"]


def test_one_process_at_a_time_averages_into_a_file(tmp_path):
    path, output = save(tmp_path / "a.pt", 1), tmp_path / "mean.pt"
    with claim(output):
        child = os.fork()
        if child == 0:
            try:
                checkpoints.average_checkpoints([path], output)
            except IkdError as error:
                os._exit(0 if "mean.pt is being written by process" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.update(args=[1]), "entry 'args' is malformed"),
        (lambda state: state.update(cfg=[1]), "entry 'cfg' is malformed"),
        (lambda state: state["cfg"].update(model="text"), "section 'model' of its entry 'cfg' is malformed"),
        (lambda state: state["cfg"].update(task=[1]), "section 'task' of its entry 'cfg' is malformed"),
        (lambda state: state["optimizer_history"].append(3), "entry 'optimizer_history' is malformed"),
        (lambda state: state["optimizer_history"][-1].update(num_updates="x"), "'optimizer_history' is mal"),
        (lambda state: state["model"].update({3: torch.zeros(1)}), "entry 'model' holds no parameters"),
    ],
)
def test_malformed_settings_are_one_sentence(tmp_path, change, message):
    state = toy_state({"weight": torch.zeros(1)})
    change(state)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(IkdError, match=f"a.pt is no checkpoint of fairseq 0.10 or later: .*{message}"):
        load_checkpoint(tmp_path / "a.pt")


def test_states_are_not_changed_by_averaging():
    models = [{"weight": torch.tensor([1.0])}, {"weight": torch.tensor([2.0])}]
    kept = copy.deepcopy(models)
    checkpoints.average_models(models, newest=1)["weight"] += 1
    assert models == kept


def test_parameters_are_counted_once_without_buffers_and_what_is_left_out():
    tied = torch.zeros(3)
    model = {
        "encoder.embed": tied,
        "decoder.embed": tied,
        "student.conv": torch.zeros(4),
        "norm.running_mean": torch.zeros(5),
        "norm.num_batches_tracked": torch.tensor(1),
        "decoder.version": torch.tensor([3.0]),
    }
    state = toy_state(model)
    assert sorted(map(len, checkpoints.parameters_of(state))) == [3, 4]
    assert list(map(len, checkpoints.parameters_of(state, ["student."]))) == [3]
    assert checkpoints.architecture_of(state) == "ikd_transformer"
    assert checkpoints.architecture_of({"args": Namespace(arch="transformer")}) == "transformer"


def test_tied_matrices_that_were_saved_apart_are_tied_again(tmp_path):
    tied, other = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    model = {
        "encoder.embed": tied,
        "decoder.embed": tied.clone(),
        "another": other,
        "of another type": tied.half(),
        "first bias": torch.ones(2),  # equal at the start, and no matrix
        "second bias": torch.ones(2),
        "nothing": torch.zeros(2, 2),
        "nothing either": torch.zeros(2, 2),
    }
    torch.save(toy_state(model), tmp_path / "gpu.pt")
    state = load_checkpoint(tmp_path / "gpu.pt")
    assert {name: tensor.tolist() for name, tensor in state["model"].items()} == {
        name: tensor.tolist() for name, tensor in model.items()
    }
    assert len({checkpoints.memory_of(tensor) for tensor in state["model"].values()}) == len(model) - 1
    checkpoints.average_checkpoints([tmp_path / "gpu.pt"], tmp_path / "average.pt")
    average = torch.load(tmp_path / "average.pt", weights_only=True)["model"]
    assert average["encoder.embed"].data_ptr() == average["decoder.embed"].data_ptr()
