"""ikd-average-checkpoints: which files of a folder, and options that do not fit."""

import os

import pytest

from ikd_fairseq.cli import average_checkpoints as average
from tests.saved_checkpoints import averaged_weight, save


@pytest.fixture
def run_folder(tmp_path):
    """Epoch checkpoints worth 1 to 12, update checkpoints worth 100 to 300, best ones worth their loss."""
    folder = tmp_path / "run"
    folder.mkdir()
    for epoch in range(1, 13):
        save(folder / f"checkpoint{epoch}.pt", epoch, epoch)
    for updates in (100, 200, 300):
        save(folder / f"checkpoint_{updates // 100}_{updates}.pt", updates, updates)
    for name, loss in (
        ("checkpoint.best_loss_2.5000.pt", 2.5),
        ("checkpoint.best_loss_10.1251.pt", 10.125),
        ("checkpoint.best_loss_3.2502.pt", 3.25),
    ):
        save(folder / name, loss)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        save(folder / name, 1e6)
    return folder


@pytest.mark.parametrize(
    "options, expected",
    [
        ([], (3 + 12) / 2),  # the last ten, by number and not by name
        (["--last", "2"], 11.5),
        (["--last", "2", "--upto", "9"], 8.5),
        (["--last", "2", "--by", "updates"], 250.0),
        (["--last", "1", "--by", "updates", "--upto", "299"], 200.0),
        (["--last", "2", "--by", "best"], (2.5 + 3.25) / 2),  # a loss: the lowest are best
    ],
)
def test_selection_from_a_folder(run_folder, tmp_path, options, expected):
    assert average.main([str(run_folder), "--output", str(tmp_path / "mean.pt"), *options]) is None
    assert averaged_weight(tmp_path / "mean.pt") == expected


def test_output_that_is_an_input_or_has_no_folder_is_refused(tmp_path, capsys):
    path = save(tmp_path / "a.pt", 1)
    before = open(path, "rb").read()
    os.symlink(path, tmp_path / "link.pt")
    for output, message in (
        (path, "is one of the inputs"),
        (tmp_path / "link.pt", "is one of the inputs"),
        (tmp_path / "none" / "mean.pt", "does not exist"),
        (tmp_path, "is a folder"),
    ):
        assert average.main([path, "--output", str(output)]) == 1
        error = capsys.readouterr().err
        assert message in error and error.startswith("average-checkpoints: error: ")
    assert open(path, "rb").read() == before


def test_options_that_do_not_fit_the_inputs_are_refused(run_folder, tmp_path, capsys):
    path = save(tmp_path / "a.pt", 1)
    for arguments, message in (
        ([path, "--last", "2"], "--last selects from a folder"),
        ([path, path], "given twice"),
        ([str(run_folder), path], "one folder or several files"),
        ([str(run_folder), "--by", "best", "--upto", "3"], "--upto"),
    ):
        assert average.main([*arguments, "--output", str(tmp_path / "mean.pt")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "mean.pt").exists()
