"""A folder of text with words masked, and all else as it was."""

import json
import os

import pytest

from ikd_fairseq.analysis import degrade
from ikd_fairseq.cli.analyse import main
from ikd_fairseq.errors import IkdError

pytest.importorskip("matplotlib")

TEXT = {
    "train.lc.norm.tok.en": "a red ball and a Blue box\na dog\n",
    "train.lc.norm.tok.de": "ein roter ball und eine blaue kiste\nein hund\n",
    "train.lc.norm.tok.fr": "un ballon rouge\nun chien\n",
    "test_2017_flickr.lc.norm.tok.en": "a cat\n",
    "test_2017_flickr.lc.norm.tok.de": "eine katze\n",
    "val.lc.norm.tok.en": "red red\n",
    "val.lc.norm.tok.de": "rot rot\n",
    "test_street.lc.norm.tok.en": "red\n",
    "other.lc.norm.tok.en": "red\n",
}
DEFAULTS = {"mask": "colour", "language": "en", "mask_token": "[U]"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "original"
    for part in ("text", "image_splits", "images"):
        (folder / part).mkdir(parents=True)
    for name, text in TEXT.items():
        (folder / "text" / name).write_text(text, encoding="utf-8")
    (folder / "image_splits" / "train.txt").write_text("1.jpg\n2.jpg\n")
    (folder / "images" / "1.jpg").write_bytes(b"picture")
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """Degrades the folder; returns the new one and the table."""

    def run(**options):
        output = tmp_path / "made" / "degraded"
        table = degrade.run(folder=str(folder), output=str(output), **{**DEFAULTS, **options})
        return output, table

    return run


def lines(folder, name):
    return (folder / "text" / name).read_text(encoding="utf-8").splitlines()


def test_words_are_masked_one_by_one_and_the_rest_is_as_it_was(run):
    output, _ = run()
    assert lines(output, "train.lc.norm.tok.en") == ["a [U] ball and a [U] box", "a dog"]
    assert lines(output, "val.lc.norm.tok.en") == ["[U] [U]"]
    assert lines(output, "test_street.lc.norm.tok.en") == ["[U]"]
    unchanged = [name for name in TEXT if not name.endswith(".en")]
    assert all((output / "text" / name).read_text() == TEXT[name] for name in unchanged)
    assert not (output / "text" / "other.lc.norm.tok.en").exists()  # prepare.sh knows no such split
    assert (output / "image_splits" / "train.txt").read_text() == "1.jpg\n2.jpg\n"
    assert (output / "images" / "1.jpg").read_bytes() == b"picture"


def test_positions_cover_the_splits_in_the_order_train_val_test(run, tmp_path):
    (tmp_path / "nouns").write_text("2 6\n1\n0\n1\n-1\n")
    output, _ = run(mask="entity", positions=[str(tmp_path / "nouns")], mask_token="<x>")
    assert lines(output, "train.lc.norm.tok.en") == ["a red <x> and a Blue <x>", "a <x>"]
    assert lines(output, "val.lc.norm.tok.en") == ["<x> red"]
    assert lines(output, "test_2017_flickr.lc.norm.tok.en") == ["a <x>"]


def test_shares_are_counted_by_split_and_written_in_three_forms(run):
    output, table = run()
    assert [tuple(row) for row in table.rows] == [
        ("train", 2, 1, 9, 2, pytest.approx(200 / 9)),
        ("val", 1, 1, 2, 2, 100.0),
        ("test_2017_flickr", 1, 0, 2, 0, 0.0),
        ("test_street", 1, 1, 1, 1, 100.0),
    ]
    assert (output / "degrade.tsv").read_text().splitlines()[1] == "train\t2\t1\t9\t2\t22.22"
    record = json.loads((output / "degrade.json").read_text())
    assert record["mask"] == "colour" and record["token"] == "[U]" and "red" in record["colours"]
    assert record["splits"][1]["masked"] == 2
    assert (output / "degrade.png").read_bytes().startswith(b"\x89PNG")


def test_colours_of_a_file_take_the_place_of_the_list(run, tmp_path):
    (tmp_path / "colours").write_text("dog\n")
    output, _ = run(colours=str(tmp_path / "colours"))
    assert lines(output, "train.lc.norm.tok.en") == ["a red ball and a Blue box", "a [U]"]


def test_what_is_there_already_is_neither_overwritten_nor_mixed_with(run, folder, tmp_path):
    output, _ = run()
    before = sorted(output.iterdir())
    with pytest.raises(IkdError, match=f"--output {output} is there already"):
        run()
    assert sorted(output.iterdir()) == before
    with pytest.raises(IkdError, match="is there already"):
        degrade.run(folder=str(folder), output=str(folder), **DEFAULTS)


def test_a_call_that_fails_leaves_nothing_behind(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(degrade.os, "symlink", full)
        with pytest.raises(IkdError, match="made/degraded cannot be written .No space left"):
            run()
    assert os.listdir(tmp_path / "made") == []
    run()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"mask": "entity", "colours": "f"}, "--colours is of no use with --mask entity"),
        ({"spacy_model": "m"}, "--spacy-model is of no use with --mask colour"),
        ({"colours": "f", "positions": ["p"]}, "--colours and --positions both say"),
        ({"language": "de"}, "words to mask in de is not built in: give --colours or --positions"),
        ({"mask": "entity", "language": "de"}, "give --spacy-model or --positions"),
        ({"language": "cs", "positions": ["p"]}, "has no text in cs"),
        ({"mask_token": "a b"}, "--mask-token 'a b' is not one word"),
        ({"mask_token": "dog"}, "line 2 of train has dog already"),
    ],
)
def test_what_cannot_be_masked_is_refused_in_a_sentence(run, options, sentence, tmp_path):
    with pytest.raises(IkdError, match=sentence):
        run(**options)
    assert not (tmp_path / "made" / "degraded").exists()


def test_masking_nothing_is_refused(run, tmp_path):
    (tmp_path / "none").write_text("-1\n" * 5)
    with pytest.raises(IkdError, match="no word .* is to be masked"):
        run(positions=[str(tmp_path / "none")])


def test_the_command_prints_the_table(folder, tmp_path, capsys):
    output = tmp_path / "by-command"
    assert not main(["degrade", "--folder", str(folder), "--output", str(output), "--mask", "colour"])
    assert capsys.readouterr().out.splitlines()[2].split() == ["val", "1", "1", "2", "2", "100"]
    assert main(["degrade", "--folder", str(folder), "--output", str(output), "--mask", "colour"]) == 1
    assert "error: --output" in capsys.readouterr().err
