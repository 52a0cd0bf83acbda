"""Comparison of systems over several runs: mean, deviation, and the significance of every pair of runs.

The tests are sacreBLEU's (``sacrebleu.significance.PairedTest``): paired bootstrap resampling (Koehn 2004, as
the Moses script computes it) and paired approximate randomisation (Riezler and Maxwell 2005). The second is
two-sided. The first counts the resamples whose absolute difference, less its mean over them, is above the
observed one: of a clear difference that is one tail, and p is about half of a two-sided one.
Peng et al. 2022 (Table 1) mark p < 0.05 and p < 0.01 against the Transformer and name no test. Here run i of
a system is tested against run i of the baseline, and a mark needs every pair.

One deviation from sacreBLEU, in pairs that hardly differ: it counts the trials whose difference is larger
than the observed one, and not those in which it is equal, so that a system would differ from its own copy
with the smallest p that there is. Here a difference of zero has p = 1, and p is never below what the number
of differing sentences allows: see :func:`_corrected`.
"""

import copy
import logging
import operator
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest

from ..errors import check
from ..io.progress import progress

MARKS = ((0.01, "‡"), (0.05, "†"))  # as in Table 1 of Peng et al. 2022
_LEAST_TRIALS = 100  # the smallest p is 1 / (trials + 1), which has to be below 0.01


class Method(NamedTuple):
    """A test of sacreBLEU's: its name there, its number of trials by default, and words for a reader."""

    kind: str
    trials: int
    title: str
    trial_name: str
    tails: str
    by_chance: str  # how many of equally good pairs of runs are below 0.05

    def description(self, trials: int | None = None) -> str:
        return f"{self.title}, {trials or self.trials:,} {self.trial_name}, {self.tails}"


TESTS = {
    "bootstrap": Method(
        "bs", 1000, "paired bootstrap", "resamples", "p about half of a two-sided one", "ten"
    ),
    "randomisation": Method("ar", 10000, "paired approximate randomisation", "trials", "two-sided", "twenty"),
}


@dataclass(frozen=True)
class Outcome:
    """What the runs of one system reach in one metric."""

    scores: tuple[float, ...]  # one a run
    differences: tuple[float, ...] = ()  # score minus that of the baseline's run; none for the baseline
    p_values: tuple[float, ...] = ()  # one a pair of runs; none for the baseline and in an untested metric

    @property
    def mean(self) -> float:
        return statistics.mean(self.scores)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation (divided by runs - 1); None for a single run."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def difference(self) -> float | None:
        """Mean difference from the baseline; None for the baseline itself."""
        return statistics.mean(self.differences) if self.differences else None

    @property
    def mark(self) -> str:
        """‡ or † if p is below 0.01 or 0.05 for every run, and all differ in the same direction.

        A run without one of the baseline to be tested against leaves none.
        """
        if not self.p_values or len(self.p_values) < len(self.scores):
            return ""
        one_direction = min(self.differences) > 0 or max(self.differences) < 0
        return next((mark for limit, mark in MARKS if one_direction and max(self.p_values) < limit), "")


@dataclass(frozen=True)
class Comparison:
    """The outcomes in one metric by system, the baseline first, and the signature of scores and test."""

    metric: str
    signature: str
    outcomes: dict[str, Outcome]

    def as_json(self) -> dict[str, Any]:
        entries = ("mean", "deviation", "difference", "mark", "scores", "p_values")
        as_entries = operator.attrgetter(*entries)
        systems = {name: dict(zip(entries, as_entries(one))) for name, one in self.outcomes.items()}
        return {"name": self.metric, "signature": self.signature, "systems": systems}

    def __str__(self) -> str:
        width = max(map(len, self.outcomes))
        lines = [f"{self.metric}  {self.signature}"]
        for name, outcome in self.outcomes.items():
            runs = len(outcome.scores)
            spread = "(1 run: no deviation)" if runs == 1 else f"± {outcome.deviation:.2f}  ({runs} runs)"
            cells = [f"{name:<{width}}", f"{outcome.mean:6.2f} {spread}"]
            if outcome.differences:
                cells.append(f"{outcome.difference:+.2f}{outcome.mark}")
                values = ", ".join(f"{p:.4f}" for p in outcome.p_values)
                cells.append(f"p = {values}" if values else "not tested")
            lines.append("  " + "  ".join(cells))
        return "\n".join(lines)


def check_trials(trials: int | None) -> None:
    """Refuses so few *trials* that no p could be below 0.01. Raises :class:`IkdError`."""
    few = trials is not None and trials < _LEAST_TRIALS
    check(not few, f"--trials {trials}: give {_LEAST_TRIALS} at least, or no p can be below 0.01")


def named_runs(option: str, values: Sequence[str]) -> tuple[str, list[str]]:
    """Parts the values of ``--baseline`` or ``--system`` into the system's name and a file a run.

    Raises:
        IkdError: there is no name or no file, or a file is there twice.
    """
    name, *files = values
    misplaced = f"{option} {name}: the first value is a file, where the system's name belongs"
    check(not os.path.isfile(name), f"{misplaced}; write {option} NAME FILE [FILE ...]")
    check(files, f"{option} {name} names no file; give one a run: {option} NAME FILE [FILE ...]")
    real = [os.path.realpath(file) for file in files]
    twice = [file for place, file in enumerate(files) if real[place] in real[:place]]
    check(not twice, f"{option} {name} names {' and '.join(twice)} twice; each file is a run of its own")
    return name, files


def files_of_systems(baseline: Sequence[str], systems: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The files of every run by system, the baseline first, by the values of ``--baseline`` and ``--system``.

    Raises:
        IkdError: a name is there twice, or a system has more or fewer runs than the baseline.
    """
    first, first_files = named_runs("--baseline", baseline)
    files = {first: first_files}
    for name, own in (named_runs("--system", values) for values in systems):
        check(name not in files, f"two systems are called {name}; give each a name of its own")
        runs = f"--system {name} has {len(own)} run(s) ({', '.join(own)})"
        baseline_runs = f"the baseline {first} has {len(first_files)} ({', '.join(first_files)})"
        paired = f"{runs}, but {baseline_runs}; runs are tested in pairs, so give as many"
        check(len(own) == len(first_files), paired)
        files[name] = own
    return files


def compare_runs(
    systems: Mapping[str, Sequence[Sequence[str]]],
    references: Sequence[str],
    scorers: Mapping[str, Metric],
    test: str = "bootstrap",
    trials: int | None = None,
) -> dict[str, Comparison]:
    """Scores every run, and tests run i of each system against run i of the first system, the baseline.

    Args:
        systems: by name, the baseline first, the lines of each run; as many runs for every system.
        scorers: sacreBLEU's metrics, by any key.
        test: "bootstrap" or "randomisation".
        trials: resamples or trials; by default sacreBLEU's 1,000 or 10,000.

    Returns:
        By the keys of *scorers*. The seed is sacreBLEU's (12345, or ``SACREBLEU_SEED``), as the signature
        tells.

    Raises:
        IkdError: the systems differ in their number of runs.
    """
    runs = {name: len(lines) for name, lines in systems.items()}
    check(len(set(runs.values())) == 1, f"every system needs as many runs as the baseline, not {runs}")
    if not scorers:
        return {}
    # Its two lines a metric and run would break up the progress bar.
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    baseline, *_ = systems
    scores: dict[str, dict[str, list[float]]] = {key: {name: [] for name in systems} for key in scorers}
    p_values = copy.deepcopy(scores)
    signatures = {}
    for run in progress(range(runs[baseline]), desc=TESTS[test].title, unit="run"):
        texts = {name: list(lines[run]) for name, lines in systems.items()}
        found, results = PairedTest(
            list(texts.items()),
            scorers,
            [list(references)],
            test_type=TESTS[test].kind,
            n_samples=trials or TESTS[test].trials,
        )()
        # sacreBLEU calls metrics by names such as chrF2, in the order that they were given in.
        for key, (title, signature) in zip(scorers, found.items()):
            signatures[key] = title, str(signature)
            for name, result in zip(systems, results[title]):
                scores[key][name].append(result.score)
                if name != baseline:
                    unlike = _unlike(scorers[key], texts[name], texts[baseline], references)
                    difference = result.score - scores[key][baseline][run]
                    p_values[key][name].append(_corrected(result.p_value, difference, unlike))
    return {key: compare_scores(*signatures[key], scores[key], p_values[key]) for key in scorers}


def _unlike(scorer: Metric, own: Sequence[str], others: Sequence[str], references: Sequence[str]) -> int:
    """How many sentences *scorer* counts differently in two systems."""
    differing = [texts for texts in zip(own, others, references) if texts[0] != texts[1]]
    if not differing:
        return 0
    *systems, wanted = map(list, zip(*differing))
    counts = [scorer._extract_corpus_statistics(lines, [wanted]) for lines in systems]
    return sum(map(operator.ne, *counts))


def _corrected(p_value: float, difference: float, unlike: int) -> float:
    """sacreBLEU's p, put right where trials that equal the observed difference are what matters.

    With *unlike* differing sentences the randomisation has 2 ** unlike outcomes, and two of them, to swap
    none and to swap all, are exactly as far apart as the systems are: no p is below that share. Nor should
    one of resamples be: those of a single sentence are all alike, and none is above the observed difference.
    """
    return 1.0 if difference == 0 else max(p_value, min(1.0, 2.0 ** (1 - unlike)))


def compare_scores(
    metric: str,
    signature: str,
    scores: Mapping[str, Sequence[float]],
    p_values: Mapping[str, Sequence[float]] | None = None,
) -> Comparison:
    """The comparison of scores by system and run, the baseline first, of a metric that may be untested."""
    baseline, *others = scores
    outcomes = {baseline: Outcome(tuple(scores[baseline]))}
    for name in others:
        differences = tuple(own - theirs for own, theirs in zip(scores[name], scores[baseline]))
        outcomes[name] = Outcome(tuple(scores[name]), differences, tuple((p_values or {}).get(name, ())))
    return Comparison(metric, signature, outcomes)
