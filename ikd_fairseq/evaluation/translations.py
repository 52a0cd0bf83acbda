"""Translations of a test set: every sentence, in order, in the form that is scored.

fairseq 0.12 drops sentences from a test set silently: its ``batch_by_size`` throws away the last batch, that
of the longest sentences, when its size is no multiple of ``--required-batch-size-multiple``, and
``--skip-invalid-size-inputs-valid-test`` skips others. A score of what is left cannot be compared with
anything, so such output is refused here.
"""

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..errors import IkdError, check
from ..io.generate_output import is_generate_output, read_generate_output
from ..io.text_lines import read_lines

T = TypeVar("T")

logger = logging.getLogger(__name__)

BPE_MARK = "@@ "  # of subword-nmt: the word goes on in the next token
UNKNOWN_IN_REFERENCE = "<<unk>>"  # fairseq's spelling, made so that it matches no hypothesis

_DROPPING = (
    "give every part of the output; fairseq drops the longest sentences when the size of the last batch is "
    "no multiple of --required-batch-size-multiple (set it to 1), and others with "
    "--skip-invalid-size-inputs-valid-test"
)
_IDS_SHOWN = 10


def _shown(ids: Sequence[int], count: int) -> str:
    """The first of *ids*, and how many of *count* there are besides."""
    more = f" and {count - _IDS_SHOWN} more" if count > _IDS_SHOWN else ""
    return ", ".join(map(str, ids[:_IDS_SHOWN])) + more


def ordered_sentences(
    lines: Mapping[int, T], total: int, name: str, kind: str, skipped: Sequence[str] = ()
) -> list[T]:
    """The values of *lines* by id, from 0 to *total* - 1 without a gap.

    Args:
        lines: text, or several of them, by sentence id.
        name, kind, skipped: file, what the text is ("translation") and log lines about skipped sentences, for
            messages.

    Raises:
        IkdError: a sentence is missing, or an id is beyond the expected number.
    """
    beyond = sorted(sentence for sentence in lines if sentence >= total)
    above = f"{name} holds sentence ids of {total} and above ({_shown(beyond, len(beyond))})"
    check(not beyond, f"{above}, but the test set has {total} sentences: is it of another test set?")
    if len(lines) < total:
        missing = [
            *itertools.islice((sentence for sentence in range(total) if sentence not in lines), _IDS_SHOWN)
        ]
        count = total - len(lines)
        cause = f"its log says: {skipped[0]}" if skipped else _DROPPING
        shown = _shown(missing, count)
        raise IkdError(f"{name} lacks the {kind} of {count} of {total} sentences (ids {shown}): {cause}")
    return [lines[sentence] for sentence in range(total)]


def agreed_count(counts: dict[str, int | None]) -> int | None:
    """The one number of sentences that every source in *counts* gives, sources without a number aside.

    Raises:
        IkdError: two sources differ.
    """
    known = [(source, count) for source, count in counts.items() if count is not None]
    for (first, number), (source, count) in itertools.pairwise(known):
        check(count == number, f"{first} has {number} sentences, but {source} has {count}")
    return known[0][1] if known else None


def remove_bpe(line: str) -> str:
    """Joins the subwords of subword-nmt, as fairseq's ``--remove-bpe`` does."""
    return f"{line} ".replace(BPE_MARK, "").rstrip()


def detokenise(lines: Sequence[str], language: str) -> list[str]:
    """Undoes Moses tokenisation, by sacremoses; *language* is a code such as "de".

    Raises :class:`IkdError` for what is no such code: sacremoses would do as for another language.
    """
    code = re.fullmatch("[a-z]{2,3}", language)
    check(code, f"--detokenise {language}: give the code of the language, such as de")
    from sacremoses import MosesDetokenizer  # here, because few need it and it takes half a second

    detokeniser = MosesDetokenizer(lang=language)
    return [detokeniser.detokenize(line.split()) for line in lines]


@dataclass(frozen=True)
class Translations:
    """Text to score: as many hypotheses and references, and sources where they are known."""

    hypotheses: list[str]
    references: list[str]
    sources: list[str] | None = None
    counted_by: list[str] = field(default_factory=list)  # what confirmed the number of sentences


def load_translations(
    files: Sequence[str],
    references: str | None = None,
    counts: Mapping[str, int | None] | None = None,
    generated: bool = True,
    without_bpe: bool = False,
    detokenise_as: str | None = None,
) -> Translations:
    """Reads the translations of a test set, makes sure that no sentence is missing, and prepares the text.

    Args:
        files: output of ``fairseq-generate``, in parts or whole; or one file of a translation a line.
        references: file of a reference a line; None for the T- lines.
        counts: how many sentences the test set has, by who says so.
        generated: whether *files* are output of ``fairseq-generate``.
        without_bpe: whether to join subwords first.
        detokenise_as: language of the Moses tokenisation to undo then, if any.

    Raises:
        IkdError: a file cannot be used, or files and counts do not fit together.
    """
    lines, counts = None, dict(counts or {})
    if references:
        lines = read_lines(references)
        counts[references] = len(lines)
    if generated:
        text = _read_generated(files, lines, counts)
    elif references and lines:
        (file,) = files
        hypotheses = read_lines(file)
        agreed_count({file: len(hypotheses), **counts})
        text = Translations(hypotheses, lines, counted_by=[references])
    else:
        raise IkdError(f"{files[0]} holds translations alone and needs --references FILE")
    return _prepared(text, without_bpe, detokenise_as)


def _read_generated(
    files: Sequence[str], references: list[str] | None, counts: dict[str, int | None]
) -> Translations:
    name = ", ".join(files)
    output = read_generate_output(*files)
    counts["the log in " + name] = output.loaded
    for line in output.skipped:
        logger.warning("%s: %s", name, line)
    expected = agreed_count(counts)
    if expected is None:
        warning = (
            "%s: how many sentences the test set has is not known, so that one missing at its end would "
        )
        logger.warning(warning + "go unnoticed; give --sentences, --references, or --data and --split", name)
        expected = output.least_count()
    hypotheses = ordered_sentences(output.hypotheses, expected, name, "translation", output.skipped)
    if references is None:
        check(output.references, f"{name} holds no references (T- lines); give --references FILE")
        references = ordered_sentences(output.references, expected, name, "reference")
        if unknown := sum(UNKNOWN_IN_REFERENCE in line for line in references):
            warning = "%s: %d references hold words unknown to the dictionary, which no translation can match"
            logger.warning(warning + "; give the original text by --references", name, unknown)
    sources = [output.sources.get(sentence, "") for sentence in range(expected)] if output.sources else None
    counted_by = [source for source, count in counts.items() if count is not None]
    return Translations(hypotheses, references, sources, counted_by)


def _prepared(text: Translations, without_bpe: bool, detokenise_as: str | None) -> Translations:
    """Removes BPE, then Moses tokenisation of the language *detokenise_as*; warns of BPE that stays."""
    hypotheses, references, sources = text.hypotheses, text.references, text.sources
    if without_bpe:
        hypotheses, references = [*map(remove_bpe, hypotheses)], [*map(remove_bpe, references)]
        sources = sources and [*map(remove_bpe, sources)]
    warning = "%d %s hold BPE marks (%r); scores of subwords cannot be compared: add --remove-bpe"
    for what, lines in (("hypotheses", hypotheses), ("references", references)):
        if marked := sum(BPE_MARK in f"{line} " for line in lines):
            logger.warning(warning, marked, what, BPE_MARK)
    if detokenise_as:
        hypotheses, references = (detokenise(lines, detokenise_as) for lines in (hypotheses, references))
    return replace(text, hypotheses=hypotheses, references=references, sources=sources)


def load_run(path: str, references: str | None = None, **options: Any) -> Translations:
    """Reads the file of one run of a comparison; *options* are those of :func:`load_translations`.

    Output of ``fairseq-generate`` is known by its lines (``H-0`` and so on); any other file holds one
    translation a line. Parts of one test set (``--num-shards``) are joined with ``cat`` first.

    Raises:
        IkdError: as :func:`load_translations`; also when there is nothing in any line.
    """
    text = load_translations([path], references, generated=is_generate_output(path), **options)
    empty = f"{path}: every translation in it is empty; translate again, or leave the run out"
    check(any(map(str.strip, text.hypotheses)), empty)
    return text
