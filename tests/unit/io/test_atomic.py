"""Files appear under their names complete or not at all, and an output is refused before the work."""

import errno
import json
import os
import shutil

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.atomic import (
    check_new_folder,
    copy_file,
    link_file,
    new_folder,
    replacing,
    write_atomically,
    write_json,
)


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with write_atomically(path, "w", encoding="utf-8") as stream:
        stream.write("neu ü")
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "neu ü" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        with write_atomically(path) as stream:
            stream.write(b"half")
            raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(IkdError, match="nowhere/a cannot be written .No such file"):
        write_json(tmp_path / "nowhere" / "a", {})
    with pytest.raises(IkdError, match="a cannot be written .No such file"):
        with replacing(tmp_path / "a"):
            pass  # nothing was written


def test_a_file_that_the_block_reads_is_not_taken_for_the_output(tmp_path):
    (tmp_path / "b").write_text("old")
    for copy in (copy_file, link_file):
        with pytest.raises(IkdError, match="/a cannot be read .No such file"):
            copy(tmp_path / "a", tmp_path / "b")
    with pytest.raises(IkdError, match="/c cannot be read .Is a directory"):
        with write_atomically(tmp_path / "b"):
            os.mkdir(tmp_path / "c")
            open(tmp_path / "c")
    assert (tmp_path / "b").read_text() == "old" and sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_a_disk_that_is_full_is_the_outputs_fault(tmp_path, monkeypatch):
    def copy(source, target):  # shutil names both
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(IkdError, match="/b cannot be written .No space left"):
        copy_file(tmp_path / "a", tmp_path / "b")


def test_json_is_readable_by_people(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "ü": [\n    1\n  ]\n}\n'


def test_a_path_that_is_no_text_goes_through_json(tmp_path):
    name = os.fsdecode(b"im\xe9")
    write_json(tmp_path / "a.json", name)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == name


def test_a_file_that_is_a_link_becomes_one_of_its_own_and_a_folder_is_filled_where_it_is(tmp_path):
    (tmp_path / "others").write_text("theirs")
    (tmp_path / "link").symlink_to("others")
    write_json(tmp_path / "link", 1)
    assert (tmp_path / "others").read_text() == "theirs" and not (tmp_path / "link").is_symlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "new").symlink_to("folder")
    with new_folder(str(tmp_path / "new")) as partial:
        (tmp_path / partial / "b").touch()
    assert os.readlink(tmp_path / "new") == "folder" and os.listdir(tmp_path / "folder") == ["b"]


def test_a_mount_point_is_no_new_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(IkdError, match="is a mount point"):
        check_new_folder(str(tmp_path))


def test_copies_are_apart_and_links_are_one_file(tmp_path):
    (tmp_path / "a").write_text("content")
    copy_file(tmp_path / "a", tmp_path / "copy")
    link_file(tmp_path / "a", tmp_path / "link")
    link_file(tmp_path / "a", tmp_path / "link")  # a second time
    assert (tmp_path / "copy").read_text() == "content"
    assert not os.path.samefile(tmp_path / "a", tmp_path / "copy")
    assert os.path.samefile(tmp_path / "a", tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["a", "copy", "link"]


def test_a_folder_is_new_and_whole_and_what_others_write_is_left_alone(tmp_path):
    left, others = tmp_path / ".made.77.partial", tmp_path / ".made.en.77.partial"
    for folder in (left, others):
        folder.mkdir()
    with new_folder(str(tmp_path / "made")) as partial:
        assert not left.exists() and others.exists() and not (tmp_path / "made").exists()
        (tmp_path / partial / "file").touch()
    assert os.listdir(tmp_path / "made") == ["file"]
    with pytest.raises(IkdError, match="made is not empty"), new_folder(str(tmp_path / "made")):
        raise AssertionError("it is there")
    with pytest.raises(IkdError, match="again cannot be written .Input/output error"):
        with new_folder(str(tmp_path / "again")):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert sorted(os.listdir(tmp_path)) == [".made.en.77.partial", "made"]
