"""What a training log tells: curves by loss term, options, data. Logs are fairseq's, in its simple format."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import IkdError

Curve = list[tuple[int, float]]  # updates and value, in the order of updates
Options = dict[str, Any]

TRAIN, VALID = "train", "valid"

TERMS = {  # terms of a loss that are known by the name in the log -> what they are called
    "nll_loss": "translation, bits a token",
    "kd_irm": "IrM, maps of image and text",
    "kd_iam": "IaM, maps of real and inverse image",
    "kd_image": "real and inverse image",
    "word_kd": "word distillation, bits a token",
}

# What fairseq logs besides: sums of terms, speed, sizes and state. Whatever else a line holds is a term.
_OTHERS = re.compile(
    r"loss|ppl|accuracy|wps|ups|wpb|bsz|num_updates|lr|gnorm|clip|loss_scale|train_wall|wall|gb_free|best_\w+"
    r"|cuda_\w+"
)

_SUMMARY = re.compile(r"\S+ \S+ \| INFO \| (?P<subset>train|valid) \| epoch \d+ \| (?P<values>.*)")
_VALUE = re.compile(r"(\w+) (-?[\d.]+(?:e[+-]?\d+)?)(?= \||$)")
_START = re.compile(r"(?P<time>\S+ \S+) \| INFO \| fairseq_cli\.train \| (?P<options>\{'_name'.*\})")
_DONE = re.compile(r".* \| done training in (?P<seconds>[\d.]+) seconds")

_FACTS = {  # in the log -> label and what is said of it
    re.compile(r".* \| \[(\S+)\] dictionary: (\d+) types"): ("dictionary, {0}", "{1} types"),
    re.compile(r".* \| \S+ (\S+) (\S+-\S+) (\d+) examples"): ("{0}", "{2} sentence pairs, {1}"),
    re.compile(r".* \| \S+ (\S+): (\d+) of (\d+) sentences have an image"): (
        "{0}, images",
        "{1} of {2} sentences have one",
    ),
    re.compile(r".* \| teacher (\S+) with weights from (.+)"): ("teacher", "{0}, weights from {1}"),
    re.compile(r".* \| num\. shared model params: ([\d,]+) .*"): ("parameters in training", "{0}"),
}


@dataclass
class TrainingLog:
    """A log as far as it could be read.

    Attributes:
        curves: by "train" or "valid", then by name in the log; means over an epoch or the validation set.
        options: by section ("model", "optimization", ...), those of the latest start; empty if unknown.
        facts: about data and model, by label.
        starts: how often training was started.
        began: date and time of the first start, "" if unknown.
        seconds: how long the latest start took, None if it is unfinished.
    """

    curves: dict[str, dict[str, Curve]] = field(default_factory=lambda: {TRAIN: {}, VALID: {}})
    options: dict[str, Options] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    began: str = ""
    seconds: float | None = None

    @property
    def updates(self) -> int:
        """The last update that a curve has, 0 without any."""
        ends = [curve[-1][0] for curves in self.curves.values() for curve in curves.values()]
        return max(ends, default=0)


def read_training_log(path: Path) -> TrainingLog:
    """Reads the log of one run, with all its starts: of an update that was repeated the latest values count.

    Raises:
        IkdError: the file cannot be read.
    """
    log = TrainingLog()
    points: dict[str, dict[str, dict[int, float]]] = {TRAIN: {}, VALID: {}}
    for line in _lines(path):
        summary = _SUMMARY.fullmatch(line)
        if summary:
            values = dict(_VALUE.findall(summary["values"]))
            updates = int(values.get("num_updates", 0))
            for name, value in values.items():
                if not _OTHERS.fullmatch(name):
                    points[summary["subset"]].setdefault(name, {})[updates] = float(value)
            continue
        start = _START.fullmatch(line)
        if start:
            log.starts += 1
            log.began = log.began or start["time"].partition(",")[0]
            log.options, log.seconds = parse_options(start["options"]), None
            continue
        done = _DONE.fullmatch(line)
        if done:
            log.seconds = float(done["seconds"])
            continue
        for pattern, (label, text) in _FACTS.items():
            fact = pattern.fullmatch(line)
            if fact:
                values = [f"{int(value):,}" if value.isdigit() else value for value in fact.groups()]
                log.facts[label.format(*values)] = text.format(*values)
    log.curves = {
        subset: {name: sorted(curve.items()) for name, curve in curves.items()}
        for subset, curves in points.items()
    }
    return log


def read_curves(path: Path) -> dict[str, Curve]:
    """Curves over validations by name in the log, see :func:`read_training_log`."""
    return read_training_log(path).curves[VALID]


def parse_options(text: str) -> dict[str, Options]:
    """The options that fairseq-train prints when it starts, by section; empty if they cannot be read.

    It prints them as Python would, but for members of an enumeration, which stand there without quotes.
    """
    try:
        sections = _value_of(ast.parse(text, mode="eval").body, text)
    except (SyntaxError, RecursionError):  # cut off
        return {}
    return {name: section for name, section in sections.items() if isinstance(section, dict)}


def _value_of(node: ast.AST, text: str) -> Any:
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _value_of(value, text) for key, value in zip(node.keys, node.values)}
    if isinstance(node, ast.Call):  # Namespace(a=1)
        return {keyword.arg: _value_of(keyword.value, text) for keyword in node.keywords}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.get_source_segment(text, node)


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                yield line.rstrip("\n")
    except OSError as error:
        raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error
