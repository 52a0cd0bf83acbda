"""Tables and folders of the analyses."""

import sys

import pytest

from ikd_fairseq.analysis.output import Table, check_folder, new_figure, require, write_files
from ikd_fairseq.errors import IkdError


def test_table_is_written_with_tabs_and_printed_in_columns(tmp_path):
    table = Table(["split", "R@1"], [("valid", 4.1322314), ("a", 12)])
    write_files(str(tmp_path), {"table.tsv": table})
    assert (tmp_path / "table.tsv").read_text() == "split\tR@1\nvalid\t4.132\na\t12\n"
    assert str(table) == "split    R@1\nvalid  4.132\na         12"
    assert str(Table(["split", "R@1"], [])) == "split  R@1"


def test_dictionaries_are_written_as_json_and_lists_line_by_line(tmp_path):
    write_files(str(tmp_path), {"report.json": {"word": "grün", "values": [1, 2.5]}, "lines": ["a", "ß"]})
    assert (tmp_path / "report.json").read_bytes() == '{"word": "grün", "values": [1, 2.5]}\n'.encode()
    assert (tmp_path / "lines").read_bytes() == "a\nß\n".encode()


def test_picture_replaces_an_older_one_and_leaves_nothing_else(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    path.write_bytes(b"older")
    write_files(str(tmp_path), {"picture.png": new_figure(1, 1)})
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_made_with_its_parents_when_there_is_something_to_write_or_refused_at_once(tmp_path):
    folder = tmp_path / "a" / "b"
    check_folder(str(folder))
    assert not list(tmp_path.iterdir())
    write_files(str(folder), {"text.txt": "written"})
    assert (folder / "text.txt").read_text() == "written"
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(IkdError, match=f"--output {output}: the folder cannot be made"):
            check_folder(str(output))


def test_missing_optional_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # what importing then raises is a ModuleNotFoundError
    with pytest.raises(IkdError, match=r'needs sklearn: pip install "ikd-fairseq\[analysis\]"'):
        require("sklearn")
