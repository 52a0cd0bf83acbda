"""Translations to score, read from what fairseq prints or from plain text: every sentence, in order.

fairseq 0.12 drops sentences from a test set silently: its ``batch_by_size`` throws away the last batch, that
of the longest sentences, when its size is no multiple of ``--required-batch-size-multiple``, and
``--skip-invalid-size-inputs-valid-test`` skips others. A score of what is left cannot be compared with
anything, so such output is refused here.
"""

import argparse
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fairseq.utils import split_paths
from sacremoses import MosesDetokenizer

from ..errors import IkdError, check
from ..io.text_index import sentence_counts

logger = logging.getLogger(__name__)

BPE_MARK = "@@ "  # of subword-nmt: the word goes on in the next token
UNKNOWN_IN_REFERENCE = "<<unk>>"  # fairseq's spelling, made so that it matches no hypothesis

_SENTENCE = re.compile(r"(?P<kind>[STHD])-(?P<id>\d+)(?:\t(?P<rest>.*))?", re.DOTALL)
_LOADED = re.compile(r".* \S+ \S+-\S+ (?P<count>\d+) examples")  # logged by fairseq's translation task
_SKIPPED = re.compile(r"[\d,]+ samples have invalid sizes and will be skipped")
_DROPPING = (
    "fairseq drops the longest sentences when the size of the last batch is no multiple of "
    "--required-batch-size-multiple (set it to 1), and others with --skip-invalid-size-inputs-valid-test"
)
_IDS_SHOWN = 10


@dataclass
class GenerateOutput:
    """What ``fairseq-generate`` printed, by sentence id.

    Attributes:
        sources, references: the S- and T- lines; references are empty when the test set has none.
        hypotheses: the best one: D- lines (BPE and tokenisation undone where generation was told to) if there
            are any, else H- lines.
        loaded: how many sentences the test set has by the log, where that went to the same file.
        skipped: log lines about skipped sentences.
    """

    sources: dict[int, str] = field(default_factory=dict)
    references: dict[int, str] = field(default_factory=dict)
    hypotheses: dict[int, str] = field(default_factory=dict)
    loaded: int | None = None
    skipped: list[str] = field(default_factory=list)

    def least_count(self) -> int:
        """How many sentences the test set has at least: by the highest id of any line, translated or not."""
        return 1 + max(max(lines) for lines in (self.sources, self.references, self.hypotheses) if lines)


def _numbered_lines(path: str) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file, numbered from 1. Only a newline ends one: text may hold U+2028 and the like."""
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    yield number, raw.rstrip(b"\r\n").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise IkdError(f"{path}, line {number}: not UTF-8; convert the file") from error
    except OSError as error:
        raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 text file, one sentence each.

    Raises:
        IkdError: the file cannot be read, is empty or is not UTF-8.
    """
    lines = [line for _, line in _numbered_lines(path)]
    check(lines, f"{path} is empty")
    return lines


def _add(lines: dict[int, str], sentence: int, text: str, where: str) -> None:
    check(sentence not in lines, f"{where}: sentence {sentence} is there twice; give the output of one run")
    lines[sentence] = text


def read_generate_output(path: str) -> GenerateOutput:
    """Reads the output of ``fairseq-generate`` or ``fairseq-interactive``, log lines and all.

    Of several hypotheses for a sentence (``--nbest``) the first, which is the best, counts.

    Raises:
        IkdError: the file is empty, is no such output, is cut off within a line or holds a sentence twice.
    """
    output = GenerateOutput()
    raw_hypotheses: dict[int, str] = {}  # H-
    final_hypotheses: dict[int, str] = {}  # D-
    lines_by_kind = {
        "S": output.sources,
        "T": output.references,
        "H": raw_hypotheses,
        "D": final_hypotheses,
    }
    number, block = 0, None  # block: the sentence whose lines are being read
    for number, line in _numbered_lines(path):
        match = _SENTENCE.fullmatch(line)
        if match is None:
            loaded = _LOADED.fullmatch(line)
            if loaded:
                output.loaded = int(loaded["count"])
            if _SKIPPED.search(line):
                output.skipped.append(line)
            continue
        kind, sentence, text = match["kind"], int(match["id"]), match["rest"]
        where = f"{path}, line {number}"
        if kind in "HD" and text is not None:
            _, tab, text = text.partition("\t")  # the score comes first
            text = text if tab else None
        check(text is not None, f"{where}: the line is cut off; run fairseq-generate again")
        lines = lines_by_kind[kind]
        if kind in "HD" and block == sentence and sentence in lines:
            continue  # n-best: a further hypothesis of the same sentence
        _add(lines, sentence, text, where)
        block = sentence
    check(number > 0, f"{path} is empty")
    output.hypotheses = final_hypotheses or raw_hypotheses
    check(
        output.hypotheses,
        f"{path} holds no hypotheses (H- or D- lines); is it the output of "
        "fairseq-generate, run without --quiet?",
    )
    return output


def merge_generate_outputs(paths: Sequence[str]) -> GenerateOutput:
    """Reads the outputs of one test set generated in parts (``--num-shards``), or of one run.

    Raises:
        IkdError: as :func:`read_generate_output`; also when a sentence is in two files.
    """
    merged = GenerateOutput()
    origin: dict[int, str] = {}
    for path in paths:
        output = read_generate_output(path)
        for sentence in output.hypotheses:
            check(
                sentence not in origin,
                f"sentence {sentence} is in {origin.get(sentence)} and in {path}; give parts of one test set",
            )
            origin[sentence] = path
        check(
            merged.loaded in (None, output.loaded) or output.loaded is None,
            f"{path} is of a test set of {output.loaded} sentences, but the files before it are of one of "
            f"{merged.loaded}",
        )
        merged.loaded = output.loaded if merged.loaded is None else merged.loaded
        merged.sources.update(output.sources)
        merged.references.update(output.references)
        merged.hypotheses.update(output.hypotheses)
        merged.skipped += output.skipped
    return merged


def count_sentences(data: str, split: str) -> int:
    """How many sentences the binarised *split* has in the data folder *data* (the first of ``a:b``).

    Raises:
        IkdError: there is no such split, it cannot be read, or its files disagree.
    """
    return next(iter(sentence_counts(split_paths(data)[0], split).values()))


def _shown(ids: Sequence[int]) -> str:
    more = f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else ""
    return ", ".join(map(str, ids[:_IDS_SHOWN])) + more


def ordered_sentences(
    lines: dict[int, str], total: int, name: str, kind: str, skipped: Sequence[str] = ()
) -> list[str]:
    """The values of *lines* by id, from 0 to *total* - 1 without a gap.

    Args:
        lines: text by sentence id.
        total: how many sentences there must be.
        name: the file or files, for messages.
        kind: what the text is ("translation"), for messages.
        skipped: log lines about skipped sentences, for messages.

    Raises:
        IkdError: a sentence is missing, or an id is beyond the expected number.
    """
    beyond = sorted(sentence for sentence in lines if sentence >= total)
    check(
        not beyond,
        f"{name} holds sentence ids of {total} and above ({_shown(beyond)}), but the test set "
        f"has {total} sentences: is it of another test set?",
    )
    missing = [sentence for sentence in range(total) if sentence not in lines]
    cause = f"its log says: {skipped[0]}" if skipped else _DROPPING
    check(
        not missing,
        f"{name} lacks the {kind} of {len(missing)} of {total} sentences (ids "
        f"{_shown(missing)}), so its score could not be compared: {cause}",
    )
    return [lines[sentence] for sentence in range(total)]


def agreed_count(counts: dict[str, int | None]) -> int | None:
    """The one number of sentences that every source in *counts* gives, sources without a number aside.

    Raises:
        IkdError: two sources differ.
    """
    known = [(source, count) for source, count in counts.items() if count is not None]
    for source, count in known[1:]:
        check(count == known[0][1], f"{known[0][0]} has {known[0][1]} sentences, but {source} has {count}")
    return known[0][1] if known else None


def remove_bpe(line: str) -> str:
    """Joins the subwords of subword-nmt, as fairseq's ``--remove-bpe`` does."""
    return f"{line} ".replace(BPE_MARK, "").rstrip()


def detokenise(lines: Sequence[str], language: str) -> list[str]:
    """Undoes Moses tokenisation, by sacremoses; *language* is a code such as "de"."""
    detokeniser = MosesDetokenizer(lang=language)
    return [detokeniser.detokenize(line.split()) for line in lines]


@dataclass
class Translations:
    """Text to score: as many hypotheses and references, and sources where they are known."""

    hypotheses: list[str]
    references: list[str]
    sources: list[str] | None = None
    counted_by: list[str] = field(default_factory=list)  # what confirmed the number of sentences


def load_translations(args: argparse.Namespace) -> Translations:
    """Reads the files that the options name and makes sure that no sentence is missing.

    Raises:
        IkdError: options or files do not fit together.
    """
    references = read_lines(args.references) if args.references else None
    counts = {
        "--sentences": args.sentences,
        args.references: references and len(references),
        f"--split {args.split} of {args.data}": count_sentences(args.data, args.split) if args.data else None,
    }
    if args.hypotheses:
        check(references is not None, "--hypotheses needs --references FILE")
        hypotheses = read_lines(args.hypotheses)
        agreed_count({args.hypotheses: len(hypotheses), **counts})
        return Translations(hypotheses, references, counted_by=[args.references])

    name = ", ".join(args.generate_output)
    output = merge_generate_outputs(args.generate_output)
    counts["the log in " + name] = output.loaded
    for line in output.skipped:
        logger.warning("%s: %s", name, line)
    expected = agreed_count(counts)
    if expected is None:
        logger.warning(
            "%s: how many sentences the test set has is not known, so that one missing at its end "
            "would go unnoticed; give --sentences, --references, or --data and --split",
            name,
        )
        expected = output.least_count()
    hypotheses = ordered_sentences(output.hypotheses, expected, name, "translation", output.skipped)
    if references is None:
        check(output.references, f"{name} holds no references (T- lines); give --references FILE")
        references = ordered_sentences(output.references, expected, name, "reference")
        unknown = sum(UNKNOWN_IN_REFERENCE in line for line in references)
        if unknown:
            logger.warning(
                "%s: %d references hold words unknown to the dictionary, which no translation can "
                "match; give the original text by --references",
                name,
                unknown,
            )
    sources = None
    if output.sources:
        sources = [output.sources.get(sentence, "") for sentence in range(len(hypotheses))]
    counted_by = [source for source, count in counts.items() if count is not None]
    return Translations(hypotheses, references, sources, counted_by)


def prepare_text(text: Translations, args: argparse.Namespace) -> Translations:
    """Removes BPE and tokenisation as the options ask."""
    columns = [text.hypotheses, text.references, text.sources]
    if args.remove_bpe:
        columns = [column and [remove_bpe(line) for line in column] for column in columns]
    for option, column in (("hypotheses", columns[0]), ("references", columns[1])):
        marked = sum(BPE_MARK in f"{line} " for line in column)
        if marked:
            logger.warning(
                "%d %s hold BPE marks (%r); scores of subwords cannot be compared: add --remove-bpe",
                marked,
                option,
                BPE_MARK,
            )
    if args.detokenise:
        columns[:2] = [detokenise(column, args.detokenise) for column in columns[:2]]
    return Translations(*columns, counted_by=text.counted_by)


def load_run(path: str, args: argparse.Namespace) -> Translations:
    """Reads the file of one run of a comparison, and prepares its text as the options ask.

    Output of ``fairseq-generate`` is known by its lines (``H-0`` and so on); any other file holds one
    translation a line. Parts of one test set (``--num-shards``) are joined with ``cat`` first.

    Raises:
        IkdError: as :func:`load_translations`; also when there is nothing in any line.
    """
    generated = any(_SENTENCE.fullmatch(line) for _, line in _numbered_lines(path))
    source = {"generate_output": [path], "hypotheses": None} if generated else {"hypotheses": path}
    text = load_translations(argparse.Namespace(**{**vars(args), **source}))
    check(
        any(line.strip() for line in text.hypotheses),
        f"{path}: every translation in it is empty; translate again, or leave the run out",
    )
    return prepare_text(text, args)
