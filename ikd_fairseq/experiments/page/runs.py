"""Run folders: scores, translations, training log and analyses, grouped into systems."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import IkdError, check
from .training_log import TrainingLog, read_training_log

_SEEDED = re.compile(r"(?P<name>.+)-seed(?P<seed>\d+)")  # as compare.sh and ablations.sh call their folders
_SCORES = re.compile(r"score-(?P<split>.+)\.json")
_NOTES = ("settings.txt", "made-with.txt")  # of ablations.sh and compare.sh


class Score(NamedTuple):
    """One ``score-SPLIT.json``, which ikd-score wrote.

    Attributes:
        path: the file.
        sentences: how many the score is of.
        preset: how the text was prepared, see :mod:`ikd_fairseq.evaluation.metrics`.
        metrics: by key ("bleu", ...): "name", "score" and "signature".
        settings: ikd-score's own: "references" (their file, if one was given), "remove_bpe" and "detokenise".
    """

    path: Path
    sentences: int
    preset: str
    metrics: dict[str, dict[str, Any]]
    settings: dict[str, Any]


class Run(NamedTuple):
    """A folder of one trained system.

    Attributes:
        seed: None where the folder's name has none.
        scores: by split.
        log: None where there is no ``train.log``.
        notes: texts beside it that say how it was made, by file name.
    """

    folder: Path
    system: str
    seed: int | None
    scores: dict[str, Score]
    log: TrainingLog | None
    notes: dict[str, str]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return folder_name(self.folder)

    def translations(self, split: str) -> Path:
        """Where translate.sh puts the output of fairseq-generate."""
        return self.folder / f"generate-{split}.txt"


Systems = dict[str, list[Run]]  # runs by system, the baseline first


def folder_name(folder: Path) -> str:
    """The last part of *folder*'s path, also for "." and the like."""
    return os.path.basename(os.path.abspath(folder))


def read_run(folder: Path) -> Run:
    """Reads the run in *folder*.

    Raises:
        IkdError: it is no folder, or has no score, or a file cannot be read.
    """
    check(folder.is_dir(), f"{folder} is no folder; give the folders of runs that ikd-score has scored")
    scores = {}
    for path in sorted(folder.iterdir()):
        found = _SCORES.fullmatch(path.name)
        if found:
            scores[found["split"]] = read_score(path)
    check(
        scores,
        f"{folder} holds no score-SPLIT.json: translate and score it first (translate.sh, or "
        "ikd-score with --json)",
    )
    log = folder / "train.log"
    seeded = _SEEDED.fullmatch(folder_name(folder))
    return Run(
        folder,
        seeded["name"] if seeded else folder_name(folder),
        int(seeded["seed"]) if seeded else None,
        scores,
        read_training_log(log) if log.is_file() else None,
        {name: _text(folder / name) for name in _NOTES if (folder / name).is_file()},
    )


def read_score(path: Path) -> Score:
    """Reads a file that ``ikd-score --json`` wrote of one system.

    Raises:
        IkdError: the file is something else.
    """
    text = _text(path)
    try:
        content = json.loads(text)
        metrics = {
            key: {"name": str(one["name"]), "score": float(one["score"]), "signature": str(one["signature"])}
            for key, one in content["scores"].items()
        }
        settings = {name: content.get(name) for name in ("references", "remove_bpe", "detokenise")}
        return Score(path, int(content["sentences"]), str(content["preset"]), metrics, settings)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise IkdError(f"{path} is no score of ikd-score: delete it, and score the run again") from error


def group_systems(runs: Sequence[Run], baseline: str | None = None) -> dict[str, list[Run]]:
    """The runs by system and in the order of their seeds; the baseline first, the others as they come.

    Raises:
        IkdError: two runs have one name, or there is no system called *baseline*.
    """
    systems: dict[str, list[Run]] = {}
    for run in runs:
        for other in systems.get(run.system, []):
            check(
                other.seed != run.seed,
                f"{other.folder} and {run.folder} are both called {run.name}, and "
                "names tell systems and seeds apart; give each a name of its own",
            )
        systems.setdefault(run.system, []).append(run)
    if baseline is not None:
        check(
            baseline in systems,
            f"--baseline {baseline}: there is no such system; there are {', '.join(systems)}",
        )
        systems = {baseline: systems[baseline], **systems}
    for own in systems.values():
        own.sort(key=lambda run: (run.seed is not None, run.seed))  # the one without a seed goes first
    return systems


def choose_splits(runs: Sequence[Run], wanted: Sequence[str] | None = None) -> list[str]:
    """The splits that a run has scores of, by name, or those *wanted*.

    Raises:
        IkdError: no run has a score of a wanted one.
    """
    found = sorted({split for run in runs for split in run.scores})
    for split in wanted or ():
        check(split in found, f"--splits {split}: no run has a score of it; there are {', '.join(found)}")
    return list(dict.fromkeys(wanted)) if wanted else found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise IkdError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise IkdError(f"{path} is not UTF-8; convert the file") from error
