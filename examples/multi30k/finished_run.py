"""Finished runs of compare.sh and the test sets that they translated, read for a table."""

import logging
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ikd_fairseq.constants import NO_IMAGE
from ikd_fairseq.data.image_pack import ImagePack
from ikd_fairseq.errors import check
from ikd_fairseq.evaluation.translations import ordered_sentences, read_generate_output, read_lines
from ikd_fairseq.io.checkpoints import State, load_checkpoint, memory_of

logger = logging.getLogger(__name__)

OF_ONE_SYSTEM = ("images", "own options")  # settings that may differ between runs whose figures compare

# Parts of models that only training uses, by the beginning of their parameters' names.
TRAINING_ONLY = ("student.", "imagination.")

# Entries of a state dictionary that are no parameters: running statistics, and marks of fairseq's modules.
_BUFFERS = re.compile(r"\.running_(mean|var)$|\._float_tensor$|\.version$")

COSTS: dict[str, Callable[[float], str]] = {  # column of a table -> how its numbers are written
    "parameters, training": lambda number: f"{number / 1e6:.2f} M",
    "parameters, translating": lambda number: f"{number / 1e6:.2f} M",
    "training, min": lambda number: f"{number:.1f}",
    "sentences/s": lambda number: f"{number:.1f}",
}


class Split(NamedTuple):
    """References by sentence, and which sentences have an image, counted from 0."""

    name: str
    references: list[str]
    pictured: list[int]


class Run(NamedTuple):
    """A run of compare.sh.

    Attributes:
        settings: what its ``made-with.txt`` says.
    """

    system: str
    seed: int
    folder: Path
    settings: dict[str, str]

    @property
    def needs_images(self) -> bool:
        """Whether it looks at images at test."""
        return self.settings["images"] == "test"

    def translated(self, test_sets: Iterable[Split]) -> list[Split]:
        """The test sets that it translates: all, or those that have images."""
        return [test_set for test_set in test_sets if test_set.pictured or not self.needs_images]


class Weights(NamedTuple):
    """Numbers of parameters, tied ones counted once."""

    training: int
    translating: int


def read_test_sets(data: Path, pair: str) -> list[Split]:
    """The test sets of a folder that prepare.sh made.

    Raises:
        IkdError: there are none, or an image pack does not fit.
    """
    language = pair.split("-")[1]
    # Not valid, which ablations.sh may have put there.
    paths = sorted((data / "reference").glob(f"test*.{language}"))
    check(bool(paths), f"{data}/reference holds no test set in {language}: prepare {pair} with prepare.sh")
    found = []
    for path in paths:
        references, prefix = read_lines(str(path)), str(data / path.stem)
        pictured: list[int] = []
        if ImagePack.exists(prefix):
            pack = ImagePack.open(prefix)
            check(
                len(pack) == len(references),
                f"{prefix}.images.npy is of {len(pack)} sentences, but {path} has {len(references)}: prepare "
                "the folder again",
            )
            pictured = np.flatnonzero(pack.index != NO_IMAGE).tolist()
        found.append(Split(path.stem, references, pictured))
    return found


def read_settings(path: Path) -> dict[str, str]:
    """``made-with.txt`` of a run: a name, a colon and a value a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def find_runs(folder: Path, test_sets: Sequence[Split]) -> list[Run]:
    """The finished runs in RUNS/PAIR, by system and seed; unfinished ones are named in the log.

    Raises:
        IkdError: there are none, or they were made with settings that differ, so that figures do not compare.
    """
    runs = []
    for path in folder.glob("*-seed*/made-with.txt"):
        system, _, seed = path.parent.name.rpartition("-seed")
        run = Run(system, int(seed), path.parent, read_settings(path))
        wanted = run.translated(test_sets)
        if wanted and all((run.folder / f"score-{test_set.name}.json").is_file() for test_set in wanted):
            runs.append(run)
        else:
            logger.warning("%s is not finished, and left out", run.folder)
    check(bool(runs), f"{folder} holds no finished run of compare.sh")
    runs.sort()
    for run in runs:
        for name in sorted(run.settings.keys() - OF_ONE_SYSTEM):
            ours, others = run.settings[name], runs[0].settings.get(name)
            check(
                ours == others,
                f"{run.folder} was made with {name} {ours!r}, but {runs[0].folder} with {others!r}: their "
                "figures do not compare, so keep them in different RUNS",
            )
    return runs


def read_translations(run: Run, test_set: Split) -> list[str]:
    """The translations of a whole test set, in its order.

    Raises:
        IkdError: a sentence is missing.
    """
    path = str(run.folder / f"generate-{test_set.name}.txt")
    found = read_generate_output(path).hypotheses
    return ordered_sentences(found, len(test_set.references), path, "translation")


def parameters_of(state: State, translating: bool = False) -> list[torch.Tensor]:
    """The parameters in a checkpoint, tied ones once; with *translating* only those that decoding needs."""
    return list(
        {
            memory_of(tensor): tensor
            for name, tensor in state["model"].items()
            if tensor.is_floating_point() and not _BUFFERS.search(name)
            if not (translating and name.startswith(TRAINING_ONLY))
        }.values()
    )


def count_weights(state: State) -> Weights:
    """Counts the parameters in a checkpoint."""
    return Weights(*(sum(tensor.numel() for tensor in parameters_of(state, part)) for part in (False, True)))


def decoding_speed(log: Path) -> float | None:
    """Sentences a second by the clock that fairseq-generate keeps around its search, if *log* is there."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = re.search(r"\(([\d.,]+) sentences/s", text)
    return float(found[1].replace(",", "")) if found else None


def costs_of(runs: Sequence[Run], test_sets: Sequence[Split]) -> dict[str, float]:
    """Size of a system, and its time as a mean over its *runs*, by column of :data:`COSTS`.

    Training time is fairseq's own clock in the averaged checkpoint: until the last averaged epoch was saved,
    validation included, over interruptions. Speed is that on the system's first test set.
    """
    states = [load_checkpoint(run.folder / "average.pt") for run in runs]
    weights = count_weights(states[0])
    costs = {"parameters, training": weights.training, "parameters, translating": weights.translating}
    seconds = [state["extra_state"].get("previous_training_time") for state in states]
    if None not in seconds:
        costs["training, min"] = statistics.mean(seconds) / 60
    first = runs[0].translated(test_sets)[0].name
    speeds = [decoding_speed(run.folder / f"translate-{first}.log") for run in runs]
    if None not in speeds:
        costs["sentences/s"] = statistics.mean(speeds)
    return costs
