"""The record of a run, ``RUN/run.json``: what was trained, from what, with what, and what it scored.

Each step of a run adds to it what it knows, and a reader does without what is missing. Nothing here needs
torch or fairseq, so that tables start at once; :mod:`.training_facts` reads what only a checkpoint tells::

    {
      "format": 1,
      "system": "l1", "like": "ikd", "seed": 1, "pair": "en-de", "images": "training",
      "labels": {"text": "original"},
      "data": {"folder": ..., "dictionaries": {"dict.de.txt": SHA-256, ...},
               "splits": {"train": {"sentences": ..., "sentences_with_image": ..., "image_size": ...,
                                    "files": {"train.en-de.de.bin": SHA-256, ...}}, ...}},
      "options": {"model": {...}, "optimization": {...}, ...},
      "code": {"version": ..., "commit": ..., "clean": ...}, "versions": {...}, "hardware": {...},
      "steps": {"train": {"seconds": ..., "peak_memory_mb": ...}, ...},
      "updates": 8000, "epochs": 62, "stopped_by": "max_update",
      "model": {"checkpoint": "average.pt", "sha256": ..., "averaged": 10, "parameters": ..., ...},
      "speeds": {"beam 1, batch 64": sentences a second, ...},
      "scores": {"test": [{the fields of Score}, ...], ...},
      "searches": the same of translations by further options of the search, which no table shows
    }
"""

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import IkdError, check, check_file
from ..io.atomic import write_json
from ..io.locks import PATIENCE, claim

logger = logging.getLogger(__name__)

FORMAT = 1  # raised when an older reader would misread a newer record
FILE = "run.json"
REMEDY = "score the run with translate.sh, or ikd-record"

Group = Literal["all", "with image"]
ALL: Group = "all"
WITH_IMAGE: Group = "with image"

_SEEDED = re.compile(r"(?P<name>.+)-seed(?P<seed>\d+)")


@dataclass(frozen=True)
class Sentences:
    """Which sentences a score is of. Scores compare only where these are equal."""

    group: Group  # all of a split, or those that have an image
    count: int  # how many
    fingerprint: str  # SHA-256 of their ids and references, in order
    ids: str = ""  # such as "0-4 9", from 0; empty for all

    @classmethod
    def of(cls, group: Group, references: dict[int, str]) -> "Sentences":
        """The sentences with these *references*, by id."""
        digest = hashlib.sha256()
        for sentence, reference in sorted(references.items()):
            digest.update(f"{sentence}\t{reference}\n".encode())
        ids = "" if group == ALL else _as_ranges(sorted(references))
        return cls(group, len(references), digest.hexdigest(), ids)

    def places(self) -> list[int]:
        """The ids, in order."""
        if self.group == ALL:
            return list(range(self.count))
        ends = (part.partition("-") for part in self.ids.split())
        return [place for first, _, last in ends for place in range(int(first), int(last or first) + 1)]


def _as_ranges(ids: Sequence[int]) -> str:
    """*ids*, in order, as text: "0-4 9"."""
    known = set(ids)
    firsts = (place for place in ids if place - 1 not in known)
    lasts = (place for place in ids if place + 1 not in known)
    return " ".join(f"{first}-{last}" if first < last else str(first) for first, last in zip(firsts, lasts))


@dataclass(frozen=True)
class Metric:
    """A metric's name, value (BLEU, chrF, METEOR: 0 to 100) and the signature of its settings."""

    name: str
    value: float
    signature: str


@dataclass(frozen=True)
class Score:
    """What one translation of a split is worth on some of its sentences."""

    sentences: Sentences
    metrics: dict[str, Metric]  # by key ("bleu", "chrf", "ter", "meteor")
    beam: int = 5  # of the search
    output: str = ""  # what fairseq-generate wrote, a file in the run's folder
    references: str = ""  # their file, one a line, or their subwords
    sentences_per_second: float | None = None  # by fairseq's own clock around its search
    probability: float | None = None  # which the model gives to its translation, mean over sentences
    search: str = ""  # further options of the search, as fairseq-generate was given them
    checkpoint: str = ""  # SHA-256 of what translated; old scores do not know it

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> "Score":
        metrics = {key: Metric(**metric) for key, metric in value["metrics"].items()}
        return cls(**{**value, "sentences": Sentences(**value["sentences"]), "metrics": metrics})


@dataclass
class Record:
    """What is known of the run in *folder*; see the module for what its fields hold."""

    folder: Path
    system: str = ""  # its name in tables, by default that of the folder, without "-seedN"
    like: str = ""
    seed: int | None = None  # None where neither training nor the folder's name tells it
    pair: str = ""
    images: str = ""
    labels: dict[str, str] = field(default_factory=dict)  # what else tells runs apart, such as the text read
    data: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    updates: int | None = None
    epochs: int | None = None
    stopped_by: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    speeds: dict[str, float] = field(default_factory=dict)
    scores: dict[str, list[Score]] = field(default_factory=dict)
    searches: dict[str, list[Score]] = field(default_factory=dict)  # scores with options of the search

    @property
    def name(self) -> str:
        """The folder's own name, also of "." and the like."""
        return os.path.basename(os.path.abspath(self.folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Record":
        """Reads the record of the run in *folder*.

        Raises:
            IkdError: there is none, or none that this version reads.
        """
        path = Path(folder, FILE)
        check(Path(folder).is_dir(), f"{folder} is no folder; give the folders of runs that were scored")
        check(os.path.lexists(path), f"{folder} holds no {FILE}: {REMEDY}")
        check_file(path, f"delete it, and {REMEDY} again")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content.pop("format")
            if found == FORMAT:
                return cls._of_json(Path(folder), content)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise IkdError(
                f"{path} is no record of a run ({error}): delete it, and {REMEDY} again"
            ) from error
        raise IkdError(f"{path} has format {found}, but this version reads {FORMAT}: {REMEDY} again")

    @classmethod
    def _of_json(cls, folder: Path, content: dict[str, Any]) -> "Record":
        known = {entry.name for entry in dataclasses.fields(cls)}
        own = {key: value for key, value in content.items() if key in known}
        for name in ("scores", "searches"):
            of_splits = own.get(name, {}).items()
            own[name] = {split: list(map(Score.of_json, scores)) for split, scores in of_splits}
        record = cls(folder, **own)
        seeded = _SEEDED.fullmatch(record.name)
        record.system = record.system or (seeded["name"] if seeded else record.name)
        if record.seed is None and seeded:
            record.seed = int(seeded["seed"])
        return record

    @classmethod
    def update(cls, folder: str | os.PathLike[str], **facts: Any) -> "Record":
        """Adds *facts* to the record in *folder*, which may not be there yet, and returns it.

        Dictionaries are added to, entry by entry; a :class:`Score` replaces those of the same output, and
        that of the same split, group and search; everything else is replaced. Of a run that was trained on,
        or anew, nothing of before stays. Several processes may do this at once.

        Raises:
            IkdError: the record cannot be read or written.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        with claim(Path(folder, FILE), PATIENCE):
            there = os.path.lexists(Path(folder, FILE))
            record = cls.load(folder) if there else cls._of_json(Path(folder), {})
            if record._is_before(facts):
                if record.scores:
                    went = "%s was trained on, or anew: scores of before are left out of its record"
                    logger.warning(went, folder)
                record = cls._of_json(Path(folder), {})
            for split, scores in facts.pop("scores", {}).items():
                record._add(split, scores)
            for name, value in facts.items():
                if isinstance(value, dict):
                    getattr(record, name).update(value)
                else:
                    setattr(record, name, value)
            known = {
                name: value
                for name, value in dataclasses.asdict(record).items()
                if value not in ("", None, {})
            }
            del known["folder"]
            write_json(record.folder / FILE, {"format": FORMAT, **known})
        return record

    def _is_before(self, facts: dict[str, Any]) -> bool:
        """Whether *facts* are of another training than this record is, as updates, seed and time tell."""

        def identity(steps: dict[str, dict[str, Any]], **told: Any) -> tuple[Any, ...]:
            return told.get("updates"), told.get("seed"), steps.get("train", {}).get("seconds")

        told = zip(identity(**vars(self)), identity(**{"steps": {}, **facts}))
        return any(None not in pair and pair[0] != pair[1] for pair in told)

    def _add(self, split: str, scores: Sequence[Score]) -> None:
        """Puts new *scores* of *split* among the others of its kind of search."""
        written = {score.output for score in scores}
        there = [*self.scores.get(split, []), *self.searches.get(split, [])]
        every = [score for score in there if score.output not in written] + list(scores)
        places = {(score.sentences.group, score.beam, score.search): score for score in every}
        own = [places[place] for place in sorted(places)]
        for name, further in (("scores", False), ("searches", True)):
            of_splits = {**getattr(self, name), split: [one for one in own if bool(one.search) == further]}
            setattr(self, name, {key: of_splits[key] for key in sorted(of_splits) if of_splits[key]})

    def beams(self, split: str, group: Group = ALL) -> set[int]:
        """Widths of the searches that a group of sentences of *split* was scored with."""
        return {score.beam for score in self.scores.get(split, []) if score.sentences.group == group}

    def score(self, split: str, group: Group = ALL, beam: int | None = None) -> Score | None:
        """The score of a group of sentences of *split*, by the given beam or the widest, if there is one."""
        own = (score for score in self.scores.get(split, []) if score.sentences.group == group)
        found = [score for score in own if beam in (None, score.beam)]
        return max(found, key=lambda score: score.beam, default=None)


def find_records(places: Iterable[str | os.PathLike[str]]) -> list[Record]:
    """The records of runs in *places*: folders of one run each, or folders of such folders, at any depth.

    Raises:
        IkdError: a place holds none, or one cannot be read.
    """
    folders: dict[Path, None] = {}
    for place in places:
        found = sorted(path.parent for path in Path(place).rglob(FILE))
        check(bool(found), f"{place} holds no finished run (a folder with {FILE}): {REMEDY}")
        folders.update(dict.fromkeys(found))
    return [Record.load(folder) for folder in folders]
