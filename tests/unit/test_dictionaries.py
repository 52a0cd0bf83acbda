"""A dictionary that fairseq would misread is refused; what fairseq writes is not."""

import pytest
from fairseq.data import Dictionary

import ikd_fairseq.models  # noqa: F401  makes fairseq check what it reads
from ikd_fairseq.errors import IkdError


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"the 3\nball\n", "line 2, 'ball', is not one word and its count"),
        (b"the 3\n\nball 2\n", "line 2, '', is not one word"),
        (b"the 3ball 2\n", "line 1, 'the 3ball 2', is not one word"),
        (b"the 3\nball x\n", "line 2, 'ball x', is not one word"),
        (b"the 3\nball 1\nthe 1\n", "line 3 has the word 'the', as line 1 has"),
        (b"the 3\n<pad> 1\n", "line 2 has the word '<pad>', which is a symbol of fairseq's"),
        (b"the 3\nb\xff 1\n", "line 2 is no UTF-8"),
        (b"".join(b"w%d 1\n" % n for n in range(5000)) + b"\xff 1\n", "line 5001 is no UTF-8"),
        (b"the 3\n\0\0\0", "line 2, "),
        (b"", "it is empty"),
    ],
)
def test_a_damaged_dictionary_is_told_with_its_file_and_line(tmp_path, content, wrong):
    path = tmp_path / "dict.en.txt"
    path.write_bytes(content)
    with pytest.raises(IkdError, match=rf"dict\.en\.txt is damaged: {wrong}"):
        Dictionary.load(str(path))


def test_a_dictionary_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(IkdError, match="cannot be read"):
        Dictionary.load(str(tmp_path))


def test_dictionaries_that_fairseq_reads_are_read(tmp_path):
    (tmp_path / "dict.txt").write_bytes("the 3\r\n\u2028x 0\nthe 4 #fairseq:overwrite".encode())
    assert Dictionary.load(str(tmp_path / "dict.txt")).symbols[4:] == ["the", "\u2028x", "the"]
