"""What ``fairseq-generate`` and ``fairseq-interactive`` print: the one reader of it, log lines and all.

A sentence's id is its place in the split, from 0, whatever order fairseq translates in (by length). Its block
of lines is ``S-ID`` and ``T-ID`` (source and reference) and for each hypothesis, the best by the model's
score first, ``H-ID`` (score and text as decoded), ``D-ID`` (the same text with BPE and tokenisation undone
where generation was asked to) and ``P-ID`` (logarithm to base 2 of the probability of each token, the end of
sentence among them).
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import IkdError, check
from .locks import StrPath
from .text_lines import numbered_lines

_SENTENCE = re.compile(r"(?P<kind>[STHDP])-(?P<id>\d+)(?:\t(?P<rest>.*))?", re.DOTALL)
_LOADED = re.compile(r".* \S+ \S+-\S+ (?P<count>\d+) examples")  # logged by fairseq's translation task
_SKIPPED = re.compile(r"[\d,]+ samples have invalid sizes and will be skipped")
_SPEED = re.compile(r"Translated [\d,]+ sentences .*\((?P<speed>[\d.,]+) sentences/s")
_MOST_SENTENCES = 10**8  # of a test set; a line with more is damaged
_CUT_OFF = "the line is cut off; run fairseq-generate again"
_SCORED = "HD"  # kinds of lines whose text comes after a score
_REPEATED = "HDP"  # kinds of lines of which a sentence has one a hypothesis


@dataclass
class GenerateOutput:
    """Output by sentence id, hypotheses by rank; what the output lacks is empty."""

    sources: dict[int, str] = field(default_factory=dict)  # S- lines
    references: dict[int, str] = field(default_factory=dict)  # T- lines
    raw: dict[int, list[str]] = field(default_factory=dict)  # text of the H- lines
    final: dict[int, list[str]] = field(default_factory=dict)  # text of the D- lines
    token_scores: dict[int, list[list[float]]] = field(default_factory=dict)  # P- lines: base-2 logarithms
    files: dict[int, str] = field(default_factory=dict)  # that each translated sentence is in
    loaded: int | None = None  # sentences of the test set by the log, where that went to the same file
    skipped: list[str] = field(default_factory=list)  # log lines about skipped sentences

    @property
    def hypotheses(self) -> dict[int, str]:
        """The best one of each sentence: of the D- lines if there are any, else of the H- lines."""
        return {sentence: texts[0] for sentence, texts in (self.final or self.raw).items()}

    @property
    def probabilities(self) -> dict[int, float]:
        """Of the best hypothesis of each sentence as a whole, from the P- lines."""
        return {sentence: 2 ** sum(scores[0]) for sentence, scores in self.token_scores.items()}

    def least_count(self) -> int:
        """How many sentences the test set has at least: by the highest id of any line, translated or not."""
        kinds = (self.sources, self.references, self.raw, self.final)
        return 1 + max(max(lines) for lines in kinds if lines)


def read_generate_output(*paths: str) -> GenerateOutput:
    """Reads the output of one test set, generated in one go or in parts (``--num-shards``), a file each.

    Raises:
        IkdError: a file is empty, or is cut off within a line; a sentence is there twice; the files are of
            test sets of other sizes; there is no hypothesis, or not each of its lines.
    """
    output = GenerateOutput()
    for path in paths:
        _read_file(path, output)
    lacking = f"{', '.join(paths)} holds no hypotheses (H- or D- lines)"
    check(output.files, f"{lacking}; is it the output of fairseq-generate, run without --quiet?")
    for sentence, path in output.files.items():
        kinds = (output.raw, output.final, output.token_scores)
        counts = {len(lines[sentence]) for lines in kinds if sentence in lines}
        unequal = f"{path}: sentence {sentence} has not as many H-, D- and P- lines"
        check(len(counts) == 1, f"{unequal}; run fairseq-generate again")
    return output


def is_generate_output(path: str) -> bool:
    """Whether some line of *path* is one that ``fairseq-generate`` prints of a sentence."""
    return any(_SENTENCE.fullmatch(line) for _, line in numbered_lines(path))


def decoding_speed(path: StrPath) -> float | None:
    """Sentences a second by fairseq's clock around its search, if the log *path* is there and says so."""
    text = Path(path).read_text(encoding="utf-8", errors="replace") if os.path.isfile(path) else ""
    found = _SPEED.search(text)
    return float(found["speed"].replace(",", "")) if found else None


def _numbers(text: str, where: str) -> list[float]:
    try:
        return [float(score) for score in text.split()]
    except ValueError as error:
        raise IkdError(f"{where}: a score is no number; run fairseq-generate again") from error


def _read_file(path: str, output: GenerateOutput) -> None:
    number, match, block, loaded = 0, None, None, None  # block: the sentence whose lines are being read
    seen: set[tuple[str, int]] = set()
    for number, line in numbered_lines(path):
        match = _SENTENCE.fullmatch(line)
        if match is None:
            if logged := _LOADED.fullmatch(line):
                loaded = int(logged["count"])
            output.skipped += [line] if _SKIPPED.search(line) else []
            continue
        where = f"{path}, line {number}"
        known = len(match["id"]) <= len(str(_MOST_SENTENCES)) and int(match["id"]) < _MOST_SENTENCES
        check(known, f"{where}: {match['id'][:20]} is the number of no sentence; run fairseq-generate again")
        kind, sentence, text = match["kind"], int(match["id"]), match["rest"]
        if kind in _SCORED and text is not None:
            _, tab, text = text.partition("\t")
            text = text if tab else None
        check(text is not None, f"{where}: {_CUT_OFF}")
        earlier = output.files.get(sentence, path)
        again = (kind, sentence) in seen and not (kind in _REPEATED and sentence == block)
        twice = f"{where}: sentence {sentence} is there twice, before in {earlier}"
        check(earlier == path and not again, f"{twice}; give each part of a run once")
        seen.add((kind, sentence))
        block = sentence
        if kind in "ST":
            (output.sources if kind == "S" else output.references)[sentence] = text
        elif kind == "P":
            output.token_scores.setdefault(sentence, []).append(_numbers(text, where))
        else:
            output.files[sentence] = path
            (output.raw if kind == "H" else output.final).setdefault(sentence, []).append(text)
    check(number > 0, f"{path} is empty")
    check(match is None or Path(path).read_bytes().endswith(b"\n"), f"{path}, line {number}: {_CUT_OFF}")
    other = f"{path} is of a test set of {loaded} sentences, but those before it of one of {output.loaded}"
    check(None in (loaded, output.loaded) or loaded == output.loaded, other)
    output.loaded = loaded if output.loaded is None else output.loaded
