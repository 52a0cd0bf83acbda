"""The references of a split are the text, or else its subwords joined."""

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.references import read_references, references_file


def test_text_comes_before_its_subwords_and_both_are_read_as_words(tmp_path):
    assert references_file(tmp_path, "valid", "de") is None
    for folder, line in (("bpe", "ein sch@@ nee@@ mann\n\n"), ("reference", "ein schneemann .\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "valid.de").write_text(line, encoding="utf-8")
        assert references_file(tmp_path, "valid", "de") == tmp_path / folder / "valid.de"
    assert read_references(tmp_path / "bpe" / "valid.de") == ["ein schneemann", ""]
    assert read_references(tmp_path / "reference" / "valid.de") == ["ein schneemann ."]
    assert references_file(tmp_path, "valid", "en") is None
    with pytest.raises(IkdError, match="valid.en cannot be read"):
        read_references(tmp_path / "bpe" / "valid.en")
