"""N-best lists as ``fairseq-generate`` prints them: reader, check of completeness, choice by a reference.

A sentence's id is its place in the split, from 0, whatever order fairseq translates in (by length). Its block
of lines is ``S-ID``, ``T-ID`` and one ``H-ID`` a hypothesis, the best by the model's score first; everything
else is ignored.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fairseq.data.data_utils import post_process
from sacrebleu.metrics import BLEU

from ..errors import IkdError, check

_LINE = re.compile(r"(?P<kind>[SH])-(?P<id>\d+)\t(?P<text>.*)", re.DOTALL)
_IDS_SHOWN = 5

# Tokens count as they stand. Sentences of fewer than 4 words are scored by the n-grams that they have, and an
# order without a match is smoothed (sacreBLEU's "exp", method 3 of Chen and Cherry 2014).
_SENTENCE_BLEU = BLEU(tokenize="none", smooth_method="exp", effective_order=True, force=True)


@dataclass
class NBest:
    """Output of ``fairseq-generate`` by sentence id.

    Attributes:
        hypotheses: the text of the H- lines, in subwords, by rank.
        sources: the text of the S- lines, where there are any.
        files: the file that each sentence is in.
    """

    hypotheses: dict[int, list[str]] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    files: dict[int, str] = field(default_factory=dict)

    def in_order(self, sentences: int, count: int) -> list[list[str]]:
        """The *count* best hypotheses of every sentence from 0 to *sentences* - 1.

        Raises:
            IkdError: a sentence is missing or unknown, or has fewer hypotheses or an empty one.
        """
        beyond = sorted(sentence for sentence in self.files if sentence >= sentences)
        if beyond:
            raise IkdError(
                f"{self.files[beyond[0]]} holds sentence {beyond[0]}, but the split has {sentences} "
                "(counted from 0): give the output for this split"
            )
        missing = [sentence for sentence in range(sentences) if sentence not in self.files]
        if missing:
            more = f" and {len(missing) - _IDS_SHOWN} more" if len(missing) > _IDS_SHOWN else ""
            raise IkdError(
                f"{', '.join(sorted(set(self.files.values())))}: of {sentences} sentences, counted from 0,"
                f" these are missing: {', '.join(map(str, missing[:_IDS_SHOWN]))}{more}; give the output of"
                " every shard, generated with --task multimodal_translation and without"
                " --skip-invalid-size-inputs-valid-test"
            )
        return [self._best(sentence, count) for sentence in range(sentences)]

    def _best(self, sentence: int, count: int) -> list[str]:
        found = self.hypotheses[sentence][:count]
        if len(found) < count:
            raise IkdError(
                f"{self.files[sentence]}: sentence {sentence} (from 0) has {len(found)} hypotheses and "
                f"{count} are asked for: generate with --nbest {count}, or ask for fewer"
            )
        for rank, hypothesis in enumerate(found, start=1):
            if not hypothesis:
                raise IkdError(
                    f"{self.files[sentence]}: hypothesis {rank} of sentence {sentence} (from 0) is empty, "
                    "which teaches nothing: generate with a --min-len of at least 1 (fairseq's default), "
                    f"or ask for an --nbest below {rank} if that is above 1"
                )
        return found


def read_nbest(paths: Sequence[str]) -> NBest:
    """Reads the output of one split, generated in one go or in shards (a file each).

    Raises:
        IkdError: a file cannot be read, is cut off or holds a sentence that was there before; none has
            hypotheses.
    """
    nbest = NBest()
    for path in paths:
        try:
            with open(path, encoding="utf-8", newline="\n") as stream:  # text may hold U+2028 and the like
                _read(stream, path, nbest)
        except OSError as error:
            raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error
        except UnicodeDecodeError as error:
            raise IkdError(f"{path} is not UTF-8: is it output of fairseq-generate?") from error
    check(
        bool(nbest.files),
        f"{', '.join(paths)}: no hypotheses (H- lines): run fairseq-generate without --quiet",
    )
    return nbest


def _read(lines: Iterable[str], path: str, nbest: NBest) -> None:
    block = None  # the sentence whose lines are being read
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        check(line.endswith("\n"), f"{where}: the line is cut off; generate this file again")
        match = _LINE.fullmatch(line[:-1])
        if match is None:
            continue
        sentence = int(match["id"])
        if match["kind"] == "S" or sentence != block:
            check(
                sentence not in nbest.files,
                f"{where}: sentence {sentence} (from 0) is there twice, before in "
                f"{nbest.files.get(sentence)}; give each shard of one run once",
            )
            block = sentence
            nbest.files[sentence] = path
            nbest.hypotheses[sentence] = []
        if match["kind"] == "S":
            nbest.sources[sentence] = match["text"]
        else:
            _, _, hypothesis = match["text"].partition("\t")  # the score comes first
            nbest.hypotheses[sentence].append(hypothesis)


class Choice(NamedTuple):
    """A hypothesis of an n-best list.

    Attributes:
        rank: its place in the list, from 0.
        bleu: its sentence-level BLEU, 0 to 100.
        first_bleu: that of the list's first one.
    """

    rank: int
    bleu: float
    first_bleu: float


def closest(hypotheses: Sequence[str], reference: str) -> Choice:
    """The hypothesis with the highest smoothed sentence-level BLEU (Kim and Rush 2016, section 3.3).

    BLEU counts words, with subword-nmt's marks (``@@``) joined, as a translation is judged: the cuts within
    words are no part of a translation. Text in other subwords is scored by those. Of equals, the model's
    favourite wins.

    Args:
        hypotheses: in subwords, at least one, by rank.
        reference: in subwords.
    """
    words = post_process(reference, "subword_nmt")
    scores = [
        _SENTENCE_BLEU.sentence_score(post_process(hypothesis, "subword_nmt"), [words]).score
        for hypothesis in hypotheses
    ]
    rank = scores.index(max(scores))
    return Choice(rank, scores[rank], scores[0])
