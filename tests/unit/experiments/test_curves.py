"""Curves from TensorBoard files, and what becomes of those of a run that was interrupted."""

import pytest
from tensorboardX import SummaryWriter

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.curves import TRAIN, VALID, read_curves
from tests.finished_runs import spoilt, write_run


def write(folder, values, suffix="", subset="valid"):
    """A file of TensorBoard with the loss by update."""
    with SummaryWriter(str(folder / "tensorboard" / subset), filename_suffix=suffix) as writer:
        for updates, value in values.items():
            writer.add_scalar("nll_loss", value, updates)


def test_curves_hold_terms_alone(tmp_path):
    curves = read_curves(write_run(tmp_path / "ikd", {"test": spoilt(5)}))
    assert {subset: sorted(terms) for subset, terms in curves.items()} == {
        TRAIN: ["kd_irm", "nll_loss"],
        VALID: ["kd_irm", "nll_loss"],
    }
    assert dict(curves[VALID]["nll_loss"]) == pytest.approx({62: 11.3, 124: 8.5})


def test_of_an_update_that_was_repeated_the_later_values_count(tmp_path):
    write(tmp_path, {62: 11.5, 124: 8.5}, ".1")
    (first,) = (tmp_path / "tensorboard" / VALID).iterdir()
    first.rename(first.with_name("events.out.tfevents.100.host"))  # the number is the time of the start
    write(tmp_path, {124: 8.25, 186: 7.5})
    assert read_curves(tmp_path)[VALID]["nll_loss"] == [(62, 11.5), (124, 8.25), (186, 7.5)]


def test_file_that_was_cut_off_has_a_curve_as_far_as_it_goes(tmp_path):
    write(tmp_path, {62: 11.5, 124: 8.5})
    (path,) = (tmp_path / "tensorboard" / VALID).iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert read_curves(tmp_path)[VALID]["nll_loss"] == [(62, 11.5)]


def test_run_without_files_has_no_curves_and_a_damaged_one_is_refused(tmp_path):
    assert read_curves(tmp_path) == {TRAIN: {}, VALID: {}}
    write(tmp_path, {62: 11.5})
    (path,) = (tmp_path / "tensorboard" / VALID).iterdir()
    content = bytearray(path.read_bytes())
    content[12:20] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(IkdError, match="is no TensorBoard file, or is damaged"):
        read_curves(tmp_path)
