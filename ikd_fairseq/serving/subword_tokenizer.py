"""The dictionary and merges of subword-nmt as a tokenizer of Hugging Face's ``tokenizers``.

Both merge pairs in the order of their ranks. subword-nmt marks what is not the end of its word (``do@@ g``),
``tokenizers`` what is (``do g</w>``), as the codes themselves do. A pair's result that is in no training
sentence is not in the dictionary, and fairseq takes it for an unknown word; ``tokenizers`` needs a number for
it, and gets one behind the dictionary.
"""

from typing import TYPE_CHECKING

from ..errors import check
from .text import SEPARATOR, SPECIAL, TextFacts, read_merges

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_END = "</w>"


def vocabulary(facts: TextFacts) -> dict[str, int]:
    """Number by token: fairseq's symbols, the dictionary, and what merges alone need behind it.

    Raises:
        IkdError: two words of the dictionary are one token.
    """
    words = facts.source_words
    if facts.merges is not None:
        words = tuple(
            word.removesuffix(SEPARATOR) if word.endswith(SEPARATOR) else word + _END for word in words
        )
    found = {token: number for number, token in enumerate((*SPECIAL, *words))}
    check(
        len(found) == len(SPECIAL) + len(words),
        "two words of the dictionary cannot be told apart in this format; prepare the data again without "
        f"words that end in {_END} or are called {', '.join(SPECIAL)}",
    )
    for left, right in read_merges(facts.merges) if facts.merges is not None else []:
        for token in (left, right, left + right):
            found.setdefault(token, len(found))
    return found


def build_tokenizer(facts: TextFacts) -> "Tokenizer":
    """A tokenizer for tokenised text: what subword-nmt and fairseq's dictionary make of it, and ``</s>``.

    Raises:
        IkdError: as :func:`vocabulary`; the merges are no codes of subword-nmt 0.2.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    unknown = SPECIAL[3]
    if facts.merges is None:
        tokenizer = Tokenizer(models.WordLevel(vocabulary(facts), unk_token=unknown))
    else:
        pairs = read_merges(facts.merges)
        model = models.BPE(
            vocabulary(facts), pairs, unk_token=unknown, end_of_word_suffix=_END, fuse_unk=False
        )
        tokenizer = Tokenizer(model)
        tokenizer.decoder = decoders.BPEDecoder(suffix=_END)
    if facts.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    # subword-nmt parts words at spaces alone.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[ \r\n]+"), "removed")
    end = SPECIAL[2]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, 2)]
    )
    return tokenizer
