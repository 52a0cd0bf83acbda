"""Types of arguments take what they should and tell what is wrong with the rest."""

import argparse

import pytest

from ikd_fairseq.cli.arguments import positive_int


@pytest.mark.parametrize("text, number", [("1", 1), ("224", 224)])
def test_whole_numbers_above_0_are_taken(text, number):
    assert positive_int(text) == number


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "1e3", "x", ""])
def test_other_text_is_refused_with_the_text(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text!r} is not a whole number above 0$"):
        positive_int(text)
