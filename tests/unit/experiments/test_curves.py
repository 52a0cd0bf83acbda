"""Curves from TensorBoard files: terms of epochs alone, interruptions, what is missing or damaged."""

import pytest
from tensorboardX import SummaryWriter

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.curves import TRAIN, VALID, read_curves


def write(run, subset, values, suffix=""):
    """*values*: by update, a number for every term."""
    with SummaryWriter(str(run / "tensorboard" / subset), filename_suffix=suffix) as writer:
        for update, terms in values.items():
            for name, value in terms.items():
                writer.add_scalar(name, value, update)


def events(run, subset):
    return sorted((run / "tensorboard" / subset).iterdir())


def test_curves_hold_terms_alone(tmp_path):
    further = {"loss": 14.9, "ppl": 2500.0, "wps": 8000.0, "best_loss": 14.9, "lr": 0.1}
    write(
        tmp_path,
        "valid",
        {62: {"nll_loss": 11.5, "kd_irm": 3.0, **further}, 124: {"nll_loss": 8.5, "kd_irm": float("inf")}},
    )
    write(tmp_path, "train", {62: {"nll_loss": 12.5, "gnorm": 1.0}})
    write(tmp_path, "train_inner", {10: {"nll_loss": 14.0}})
    assert read_curves(tmp_path) == {
        VALID: {"nll_loss": [(62, 11.5), (124, 8.5)], "kd_irm": [(62, 3.0)]},
        TRAIN: {"nll_loss": [(62, 12.5)]},
    }


def test_of_an_update_that_was_repeated_the_later_values_count(tmp_path):
    write(tmp_path, "valid", {62: {"nll_loss": 11.5}, 124: {"nll_loss": 8.5}})
    (first,) = events(tmp_path, "valid")
    first.rename(first.with_name("events.out.tfevents.100.host"))
    write(tmp_path, "valid", {124: {"nll_loss": 8.25}, 186: {"nll_loss": 7.0}})
    (second,) = [path for path in events(tmp_path, "valid") if ".100." not in path.name]
    second.rename(second.with_name("events.out.tfevents.1000.host"))
    assert read_curves(tmp_path)[VALID]["nll_loss"] == [(62, 11.5), (124, 8.25), (186, 7.0)]


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    write(tmp_path, "valid", {62: {"nll_loss": 11.5}, 124: {"nll_loss": 8.5}})
    (path,) = events(tmp_path, "valid")
    path.write_bytes(path.read_bytes()[:-5])
    assert read_curves(tmp_path)[VALID] == {"nll_loss": [(62, 11.5)]}


def test_a_run_without_any_is_empty_and_a_damaged_file_refused(tmp_path):
    assert read_curves(tmp_path) == {TRAIN: {}, VALID: {}}
    folder = tmp_path / "tensorboard" / "valid"
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1.host").write_bytes(b"\x04" + bytes(11) + b"\xff\xff\xff\xff" + bytes(4))
    with pytest.raises(IkdError, match="is no TensorBoard file, or is damaged"):
        read_curves(tmp_path)
