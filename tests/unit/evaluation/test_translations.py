"""Every sentence of a test set, in order; BPE is removed as fairseq does."""

import pytest
from fairseq.data.data_utils import post_process

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation import translations
from ikd_fairseq.io.generate_output import read_generate_output
from tests.generated import HYPOTHESES, REFERENCES, SOURCES, generate_text, write


def test_ids_are_ordered_by_number(tmp_path):
    text = "".join(f"H-{place}\t-1\tword {place}\n" for place in sorted(range(12), key=str))
    output = read_generate_output(write(tmp_path / "gen.txt", text))
    assert translations.ordered_sentences(output.hypotheses, 12, "gen.txt", "translation")[10] == "word 10"


@pytest.mark.parametrize("details", [True, False])
def test_generate_output_is_put_in_order_of_ids(tmp_path, details):
    output = read_generate_output(write(tmp_path / "gen.txt", generate_text((2, 0, 1), details)))
    assert translations.ordered_sentences(output.hypotheses, 3, "gen.txt", "translation") == HYPOTHESES
    assert translations.ordered_sentences(output.references, 3, "gen.txt", "reference") == REFERENCES
    assert [output.sources[place] for place in range(3)] == SOURCES


def test_many_missing_ids_are_counted_and_not_all_listed():
    with pytest.raises(IkdError, match=r"lacks the translation of 99 of 100 .*ids 0, .* 9 and 89 more"):
        translations.ordered_sentences({99: "a"}, 100, "gen.txt", "translation")


def test_bpe_is_removed_as_fairseq_does():
    for line, joined in (("a@@ b c", "ab c"), ("a b@@", "a b"), ("a@@b", "a@@b"), ("", "")):
        assert translations.remove_bpe(line) == joined == post_process(line, "subword_nmt")
