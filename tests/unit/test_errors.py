"""Errors of the user's end in one sentence, those of ours in a traceback."""

import os
import sys

import pytest
import torch
from torch._utils import ExceptionWrapper

from ikd_fairseq import errors
from ikd_fairseq.errors import IkdError, check, check_file, command
from ikd_fairseq.io.progress import progress


def test_check_raises_the_sentence():
    check(True, "fine")
    with pytest.raises(IkdError, match="^line 3 is empty$"):
        check(False, "line 3 is empty")


@pytest.fixture
def hook(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error))
    errors.show_errors_without_traceback()
    return shown


def test_uncaught_error_of_the_user_is_its_sentence_alone(hook, capsys):
    sys.excepthook(IkdError, IkdError("give --image-size 64"), None)
    assert capsys.readouterr().err == "ikd_fairseq: error: give --image-size 64\n"
    assert not hook


def test_loglevel_debug_brings_its_traceback_back(hook, monkeypatch, capsys):
    error = IkdError("give --image-size 64")
    monkeypatch.setenv("LOGLEVEL", "debug")
    sys.excepthook(IkdError, error, None)
    assert hook == [(IkdError, error, None)]
    assert capsys.readouterr().err == "ikd_fairseq: error: give --image-size 64\n"


def test_error_in_a_process_for_a_gpu_is_its_sentence_too(hook, capsys):
    text = (
        "\n\n-- Process 1 terminated with the following error:\n"
        "Traceback (most recent call last):\n  File x\n"
        "ikd_fairseq.errors.IkdError: give --image-size 64\n"
    )
    error = torch.multiprocessing.ProcessRaisedException(text, 1, 77)
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == "ikd_fairseq: error: give --image-size 64\n"
    other = torch.multiprocessing.ProcessRaisedException("RuntimeError: CUDA", 1, 77)
    sys.excepthook(type(other), other, None)
    assert hook == [(type(other), other, None)]


def test_error_in_a_process_that_loads_data_is_its_sentence_too(hook, capsys):
    try:
        raise IkdError("leave it out of training")
    except IkdError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(IkdError) as raised:
        wrapped.reraise()
    sys.excepthook(IkdError, raised.value, None)
    assert capsys.readouterr().err == "ikd_fairseq: error: leave it out of training\n" and not hook


def test_a_sentence_that_another_error_hides_is_shown(hook, capsys):
    """fairseq's trainer raises an error of its own for whatever keeps a checkpoint from being loaded."""
    error = Exception("Cannot load model parameters from checkpoint")
    error.__context__ = IkdError("give --region-bias none")
    sys.excepthook(Exception, error, None)
    assert capsys.readouterr().err == "ikd_fairseq: error: give --region-bias none\n" and not hook


def test_other_errors_keep_their_traceback(hook, capsys):
    error = KeyError("x")
    sys.excepthook(KeyError, error, None)
    assert hook == [(KeyError, error, None)] and not capsys.readouterr().err


def test_hook_is_set_once(hook):
    installed = sys.excepthook
    errors.show_errors_without_traceback()
    assert sys.excepthook is installed


def test_command_ends_with_the_sentence_and_status_1(capsys):
    @command
    def main(argv=None):
        raise IkdError("no such file")

    assert main([]) == 1
    assert capsys.readouterr().err.endswith("error: no such file\n")


def test_the_sentence_begins_a_line_of_its_own_behind_a_bar(capsys):
    @command
    def main(argv=None):
        for number in progress(range(3)):
            check(number < 1, "no such file")

    assert main([]) == 1
    bar, line = capsys.readouterr().err.rstrip("\n").rsplit("\n", 1)
    assert "1/3" in bar and line.endswith("error: no such file") and "it/s" not in line


def test_only_plain_files_are_read(tmp_path):
    (tmp_path / "a").touch()
    os.mkfifo(tmp_path / "pipe")
    check_file(tmp_path / "a")
    for path, message in (
        (tmp_path / "pipe", "pipe is a pipe or a device, not a file: save"),
        ("/dev/zero", "/dev/zero is a pipe or a device"),
        (tmp_path, "is a folder, not a file: copy it"),
        (tmp_path / "b", "b cannot be read .No such file or directory.: copy it"),
        ("a\0b", "cannot be read .embedded null byte."),
    ):
        with pytest.raises(IkdError, match=message):
            check_file(path, "copy it")
