"""An exported folder: the facts about text that lie in it, and what its engines begin with."""

import json
import os
from typing import Any, NamedTuple

from ..errors import check
from ..io.manifests import read_json
from .engine import MAX_LENGTH
from .text import TextFacts

FACTS_FILE = "ikd_text.json"  # beside an engine's own files


class Limits(NamedTuple):
    """Subwords that a sentence may have, and that its translation may, their ends not among them."""

    longest: int
    longest_target: int = MAX_LENGTH  # in an export that does not say so

    @classmethod
    def of_model(cls, model: Any) -> "Limits":
        """Those of a translation model of fairseq, whose search keeps to them too."""
        source, target = (int(part.max_positions()) - 1 for part in (model.encoder, model.decoder))
        return cls(source, min(target, MAX_LENGTH))


def write_facts(folder: str, facts: TextFacts, limits: Limits) -> None:
    """Writes what the model's text went through, and how long it may be."""
    with open(os.path.join(folder, FACTS_FILE), "w", encoding="utf-8") as stream:
        json.dump({**facts.record(), **limits._asdict()}, stream)


def read_facts(folder: str) -> tuple[TextFacts, Limits]:
    """What :func:`write_facts` wrote.

    Raises:
        IkdError: the folder holds no such file, or it is damaged.
    """
    path = os.path.join(folder, FACTS_FILE)
    unknown = f"{folder} holds no {FACTS_FILE}: give a checkpoint, or a folder of ikd-export"
    check(os.path.isfile(path), f"{unknown} --format ctranslate2 or onnx")
    record = read_json(path, "export the model again")
    facts = TextFacts.of_record(record, path)
    limits = Limits(record.get("longest"), record.get("longest_target", MAX_LENGTH))
    sound = all(isinstance(limit, int) and limit > 0 for limit in limits)
    check(sound, f"{path} is damaged: export the model again")
    return facts, limits


class FolderEngine:
    """What every engine of an exported folder begins with; for the rest see :class:`.Engine`.

    Args:
        folder: the export.
        tokenizer: instead of the one that the export says.
        others: options, which are for checkpoints.

    Raises:
        IkdError: the folder is no export, or there are *others*.
    """

    image_size: int | None = None  # models of these formats take no images

    def __init__(self, folder: str, tokenizer: str | None = None, **others: Any):
        foreign = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        check(
            not others,
            f"{folder}: {foreign} is for checkpoints, and this is an exported folder: leave it out",
        )
        facts, (self.longest, self.longest_target) = read_facts(folder)
        self.facts = facts.with_tokenizer(tokenizer)
