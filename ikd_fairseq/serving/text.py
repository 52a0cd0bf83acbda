"""What a model's text went through before training, and the way there and back for any sentence.

Light: no torch and no fairseq, so that what is exported for another engine runs without them.
"""

import functools
import io
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import check
from ..evaluation.translations import BPE_MARK, remove_bpe

MOSES, NONE = "moses", "none"
TOKENIZERS = (MOSES, NONE)
FORMAT = 1  # of a record

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's own, with the numbers 0 to 3, before every dictionary
SEPARATOR = BPE_MARK.strip()
_VERSION = "#version: 0.2"
_ESCAPES = re.compile("|".join(map(re.escape, ("&amp;", "&quot;", "&apos;", "&lt;", "&gt;", "&#"))))


@dataclass(frozen=True)
class TextFacts:
    """What travels with a model.

    Attributes:
        source, target: languages, such as ``en``.
        source_words, target_words: the words of the dictionaries in their order, without fairseq's four.
        lowercase: whether the model was trained on lower-cased text.
        tokenizer: how words are told apart: ``moses``, or ``none`` for text that comes in words.
        merges: the codes of subword-nmt; None for a model of whole words.
    """

    source: str
    target: str
    source_words: tuple[str, ...]
    target_words: tuple[str, ...]
    lowercase: bool
    tokenizer: str = MOSES
    merges: str | None = None

    @functools.cached_property
    def escapes(self) -> bool:
        """Whether Moses's tokeniser is to escape: without it, text has quotation marks in it as they are."""
        plain = any('"' in word or "'" in word for word in self.source_words)
        return any(map(_ESCAPES.search, self.source_words)) or not plain

    def record(self) -> dict[str, Any]:
        """Plain values for a checkpoint or JSON; one list where both dictionaries are the same."""
        words = {side: list(getattr(self, side)) for side in ("source_words", "target_words")}
        if self.source_words == self.target_words:
            words["target_words"] = words["source_words"]
        return {"format": FORMAT, **asdict(self), **words}

    @classmethod
    def of_record(cls, record: Any, where: str) -> "TextFacts":
        """The facts that :meth:`record` made values of; *where* they stand is for the message.

        Raises:
            IkdError: they are damaged, or of a later version.
        """
        damaged = (
            f"{where}: what it says of its text is damaged or of a later version; export the model again"
        )
        check(isinstance(record, Mapping) and record.get("format") == FORMAT, damaged)
        found = {field.name: record.get(field.name) for field in fields(cls)}
        for side in ("source_words", "target_words"):
            listed = isinstance(found[side], list | tuple) and all(
                isinstance(word, str) for word in found[side]
            )
            check(listed, damaged)
            found[side] = tuple(found[side])
        named = all(isinstance(found[name], str) for name in ("source", "target"))
        typed = isinstance(found["lowercase"], bool) and isinstance(found["merges"], str | None)
        check(named and typed and found["tokenizer"] in TOKENIZERS, damaged)
        return cls(**found)

    @classmethod
    def of_words(
        cls,
        languages: tuple[str, str],
        words: tuple[tuple[str, ...], tuple[str, ...]],
        merges: str | None,
        tokenizer: str = MOSES,
    ) -> "TextFacts":
        """The facts of dictionaries: a model is lower-cased if they hold no word with a capital letter."""
        lowercase = all(word == word.lower() for side in words for word in side)
        return cls(*languages, *words, lowercase, tokenizer, merges)

    def with_tokenizer(self, tokenizer: str | None) -> "TextFacts":
        """The same facts, but for the tokenizer if one is given."""
        return self if tokenizer is None else replace(self, tokenizer=tokenizer)

    @property
    def of_subwords(self) -> bool:
        """Whether the dictionaries were made from text in subwords."""
        return any(
            word.endswith(SEPARATOR) for side in (self.source_words, self.target_words) for word in side
        )


def check_tokenizer(facts: TextFacts) -> None:
    """Refuses languages whose words sacremoses cannot tell apart. Raises :class:`IkdError`."""
    if facts.tokenizer == NONE:
        return
    from sacremoses.corpus import NonbreakingPrefixes

    known = sorted(set(NonbreakingPrefixes().available_langs.values()))
    for language in (facts.source, facts.target):
        check(
            language in known,
            f"sacremoses does not know the language {language!r} (it knows {', '.join(known)}): give "
            "--tokenizer none, and sentences in words, parted by spaces",
        )


def read_merges(merges: str, where: str = "the model") -> list[tuple[str, str]]:
    """The pairs in the codes of subword-nmt by rank, each once; the end of a word is ``</w>``.

    Raises:
        IkdError: naming the line in *where* that subword-nmt would end the process over; an older format.
    """
    version, *lines = merges.rstrip("\n").split("\n")
    other = f"{where}: these BPE merges do not begin with {_VERSION!r}"
    check(version.strip() == _VERSION, f"{other}; learn them with subword-nmt 0.2 or later")
    pairs: dict[tuple[str, str], None] = {}  # a set in order
    for number, line in enumerate(lines, start=2):
        pair = line.strip("\r\n ").split(" ")
        check(len(pair) == 2, f"{where}, line {number}: {line[:40]!r} is no pair of subwords")
        pairs[pair[0], pair[1]] = None
    return list(pairs)


class TextPipeline:
    """A sentence to the subwords of a model, as its training text was made, and a translation back.

    Raises:
        IkdError: sacremoses does not know a language, or there are no merges for a model of subwords.
    """

    def __init__(self, facts: TextFacts):
        check_tokenizer(facts)
        missing = (
            "the model was trained on subwords, and its BPE merges are missing: give the data folder with "
        )
        check(facts.merges is not None or not facts.of_subwords, f"{missing}its file `code` (--data)")
        self.facts = facts

    @functools.cached_property
    def _moses(self) -> tuple[Any, Any, Any]:
        from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer

        source, target = self.facts.source, self.facts.target
        return MosesPunctNormalizer(source), MosesTokenizer(source), MosesDetokenizer(target)

    @functools.cached_property
    def _bpe(self) -> Any:
        from subword_nmt.apply_bpe import BPE

        read_merges(self.facts.merges or "")  # for what it refuses
        return BPE(io.StringIO(self.facts.merges))

    def subwords(self, sentence: str) -> str:
        """Lower-cased if the model is, punctuation normalised, tokenised, in subwords parted by spaces."""
        text = " ".join(sentence.split())
        text = text.lower() if self.facts.lowercase else text
        if self.facts.tokenizer == MOSES:
            normalizer, tokenizer, _ = self._moses
            text = tokenizer.tokenize(normalizer.normalize(text), return_str=True, escape=self.facts.escapes)
        text = " ".join(text.split())
        return text if self.facts.merges is None else self._bpe.process_line(text)

    def sentence(self, subwords: str) -> str:
        """The plain sentence that *subwords*, parted by spaces, stand for."""
        text = remove_bpe(subwords)
        if self.facts.tokenizer == MOSES:
            text = self._moses[2].detokenize(text.split())
        return text
