"""Lines of text: what ends one, and what belongs to none."""

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.text_lines import decoded_lines, read_lines


def test_only_a_newline_ends_a_line_and_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffa b\r\n\ufeffc\u2028d\r\r\ne".encode())
    assert read_lines(str(tmp_path / "a.txt")) == ["a b", "\ufeffc\u2028d\r", "e"]


def test_other_encodings_are_refused_with_their_place():
    with pytest.raises(IkdError, match="standard input, line 2: not UTF-8"):
        list(decoded_lines([b"a\n", b"\xe8\n"], "standard input"))
