"""What ikd-analyse leaves behind is found by its names, and carried whole into the page."""

import base64
import json

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.page.analyses import data_uri, find_analyses, read_table
from tests.finished_runs import PNG


def test_pictures_and_tables_are_found_in_the_run_and_right_below_it(tmp_path):
    (tmp_path / "attention").mkdir()
    for name in ("attention.10.png", "attention.2.png", "attention.x.png", "attention.tsv"):
        (tmp_path / "attention" / name).write_bytes(PNG)
    words = {"sentences": [{"sentence": 2, "words": ["a", "vo@@", "id", "</s>"]}]}
    (tmp_path / "attention" / "attention.json").write_text(json.dumps(words))
    (tmp_path / "retrieval.tsv").touch()
    (tmp_path / "clusters.points.tsv").touch()
    found = find_analyses(tmp_path, "ikd", ["clusters", "retrieval", "attention"])
    assert sorted(found) == ["attention", "retrieval"]
    (attention,) = found["attention"]
    assert [(picture.sentence, picture.words) for picture in attention.pictures] == [(2, "a void"), (10, "")]
    assert attention.owner == "ikd" and attention.table.name == "attention.tsv"
    assert found["retrieval"][0].pictures == []


def test_picture_becomes_an_address_with_its_size(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    address, width, height = data_uri(tmp_path / "a.png")
    assert (width, height) == (2, 1)
    assert base64.b64decode(address[len("data:image/png;base64,") :]) == PNG


def test_files_that_are_not_what_they_are_called_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    with pytest.raises(IkdError, match=r"a\.png is no PNG"):
        data_uri(tmp_path / "a.png")
    (tmp_path / "a.tsv").write_text("one\ttwo\n1\n")
    with pytest.raises(IkdError, match=r"a\.tsv is no table"):
        read_table(tmp_path / "a.tsv")


def test_table_keeps_its_lines_whatever_they_hold(tmp_path):
    (tmp_path / "a.tsv").write_text("n\ttext\n1\ta\u2028b\n2\t\n", encoding="utf-8")
    assert read_table(tmp_path / "a.tsv") == (["n", "text"], [["1", "a\u2028b"], ["2", ""]])
