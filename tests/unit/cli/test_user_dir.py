"""The printed folder is the one that fairseq's --user-dir takes."""

from argparse import Namespace
from pathlib import Path

import pytest
from fairseq.tasks import TASK_REGISTRY
from fairseq.utils import import_user_module

import ikd_fairseq
from ikd_fairseq.cli import user_dir


def printed_folder(capsys):
    user_dir.main([])
    (line,) = capsys.readouterr().out.splitlines()
    return line


def test_the_folder_of_the_package_is_printed_alone(capsys):
    assert Path(printed_folder(capsys)) == Path(ikd_fairseq.__file__).resolve().parent


def test_fairseq_takes_it_for_this_very_package(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # fairseq refuses a folder whose name an imported package has, unless it is that package's own.
    import_user_module(Namespace(user_dir=printed_folder(capsys)))
    assert TASK_REGISTRY["multimodal_translation"].__module__.startswith("ikd_fairseq.")
    (tmp_path / "ikd_fairseq").mkdir()
    with pytest.raises(ImportError, match="not globally unique"):
        import_user_module(Namespace(user_dir=str(tmp_path / "ikd_fairseq")))


def test_arguments_are_refused(capsys):
    with pytest.raises(SystemExit):
        user_dir.main(["somewhere"])
    assert capsys.readouterr().out == ""
