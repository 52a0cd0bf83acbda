"""Scores of systems side by side: mean, deviation, significance of differences from a baseline.

Scores come from the records, and meet only if they are of the same sentences by the same settings. For the
test the translations are scored again, run against the baseline's run of the same seed (see
:mod:`ikd_fairseq.evaluation.significance`). Where that is not possible there is no p, and a note says why.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import IkdError, check
from ..evaluation.metrics import METRICS, make_scorers
from ..evaluation.significance import Outcome, compare_runs
from ..evaluation.translations import ordered_sentences, remove_bpe
from ..io.generate_output import read_generate_output
from ..io.progress import progress
from ..io.text_lines import read_lines
from .record import ALL, FILE, Group, Metric, Record, Score, Sentences

TEST = "bootstrap"

_AS_STORED = 0.005  # scores closer than this are the same: half a step of what is shown

Systems = dict[str, list[Record]]  # runs by system
Seeds = tuple[int | None, ...]
Scored = dict[int | None, tuple[Record, Score]]  # of one system and split, by seed


def group_systems(runs: Iterable[Record]) -> Systems:
    """The runs by system, as they come, and of one system in the order of their seeds.

    Raises:
        IkdError: two runs are of one system and seed.
    """
    systems: Systems = {}
    for run in runs:
        for other in systems.get(run.system, []):
            seed = "without a seed" if run.seed is None else f"seed {run.seed}"
            check(
                other.seed != run.seed,
                f"{other.folder} and {run.folder} are both of {run.system} and {seed}: leave one of them out",
            )
        systems.setdefault(run.system, []).append(run)
    for own in systems.values():
        own.sort(key=lambda run: (run.seed is not None, run.seed))  # the one without a seed goes first
    return systems


@dataclass
class Comparable:
    """What scores have to share to stand in one column or test. It refuses whatever differs.

    Attributes:
        sentences: which ones, by split.
        metrics: name and signature, by key.
    """

    sentences: dict[str, tuple[Sentences, Record]] = field(default_factory=dict)
    metrics: dict[str, tuple[Metric, Record]] = field(default_factory=dict)

    def admit(self, run: Record, split: str, score: Score) -> None:
        """Takes a score in.

        Raises:
            IkdError: it is of other sentences, or by other settings, than one that is in.
        """
        ours, first = self.sentences.setdefault(split, (score.sentences, run))
        theirs = score.sentences
        check(
            ours.count == theirs.count,
            f"{split} of {first.folder} is of {ours.count} sentences, but that of {run.folder} of "
            f"{theirs.count}: these scores do not compare, so leave one of the runs out",
        )
        check(
            ours == theirs,
            f"{split} of {first.folder} is of other sentences ({ours.group}) than that of {run.folder} "
            f"({theirs.group}): these scores do not compare, so leave one of the runs out",
        )
        for key, metric in score.metrics.items():
            known, first = self.metrics.setdefault(key, (metric, run))
            check(
                known.signature == metric.signature,
                f"{metric.name} of {first.folder} ({known.signature}) does not compare with that of "
                f"{run.folder} ({metric.signature}): score both alike",
            )


@dataclass(frozen=True)
class Scores:
    """Scores of all systems.

    Attributes:
        names: of metrics, by key ("bleu", ...).
        signatures: by key of the metric.
        sentences: by split.
        outcomes: by metric, system and split; what is not there was not scored. Differences and p are of the
            pairs of runs that were tested, or of all that have the same seed where none was.
        notes: sentences about what is missing.
    """

    names: dict[str, str]
    signatures: dict[str, str]
    sentences: dict[str, Sentences]
    outcomes: dict[tuple[str, str, str], Outcome]
    notes: list[str]


def compare_systems(
    systems: Systems,
    splits: Sequence[str],
    baseline: str | None = None,
    group: Group = ALL,
    beam: int | None = None,
    trials: int | None = None,
) -> Scores:
    """Means over runs, and the significance of differences from *baseline*.

    Args:
        splits: those to compare on.
        group: which of their sentences.
        beam: of the search; by default the widest that a run was scored with.
        trials: resamples of the test; by default sacreBLEU's 1,000. With 0 nothing is tested.

    Raises:
        IkdError: scores of two runs do not compare, as they are of other sentences or settings.
    """
    admitted = Comparable()
    scored: dict[str, dict[str, Scored]] = {split: {} for split in splits}
    for split in splits:
        for name, own in systems.items():
            for run in own:
                score = run.score(split, group, beam)
                if score is not None:
                    admitted.admit(run, split, score)
                    scored[split].setdefault(name, {})[run.seed] = (run, score)

    p_values: dict[tuple[str, str, str], tuple[float, ...]] = {}
    notes: list[str] = []
    tested = [
        split for split in splits if baseline in scored[split] and len(scored[split]) > 1 and trials != 0
    ]
    # sacreBLEU's two lines a metric and run would break up the progress bar.
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    for split in progress(tested, desc="significance", unit="split", disable=not tested):
        found, said = _test(scored[split], str(baseline), trials)
        p_values.update({(metric, name, split): p for (metric, name), p in found.items()})
        notes += [f"{split}: {note}" for note in said]
    return Scores(
        {key: metric.name for key, (metric, _) in admitted.metrics.items()},
        {key: metric.signature for key, (metric, _) in admitted.metrics.items()},
        {split: sentences for split, (sentences, _) in admitted.sentences.items()},
        _outcomes(scored, list(admitted.metrics), baseline, p_values),
        notes + _lacking(systems, scored),
    )


def _outcomes(
    scored: dict[str, dict[str, Scored]],
    metrics: Sequence[str],
    baseline: str | None,
    p_values: dict[tuple[str, str, str], tuple[float, ...]],
) -> dict[tuple[str, str, str], Outcome]:
    outcomes = {}
    for split, by_name in scored.items():
        for name, by_seed in by_name.items():
            for metric in metrics:
                values = _values(by_seed, metric)
                theirs = _values(by_name.get(baseline or "", {}), metric) if name != baseline else {}
                differences = tuple(values[seed] - theirs[seed] for seed in values if seed in theirs)
                if values:
                    p = p_values.get((metric, name, split), ())
                    outcomes[metric, name, split] = Outcome(tuple(values.values()), differences, p)
    return outcomes


def _lacking(systems: Systems, scored: dict[str, dict[str, Scored]]) -> list[str]:
    """Notes on runs without a score of a split that another run has."""
    lacking = {
        (name, split): [run.name for run in own if not run.scores.get(split)]
        for name, own in systems.items()
        for split, by_name in scored.items()
        if by_name
    }
    return [f"{split}: no score of {', '.join(names)}." for (_, split), names in lacking.items() if names]


def _values(by_seed: Scored, metric: str) -> dict[int | None, float]:
    found = ((seed, score.metrics.get(metric)) for seed, (_, score) in by_seed.items())
    return {seed: one.value for seed, one in found if one is not None}


def _test(
    scored: dict[str, Scored], baseline: str, trials: int | None
) -> tuple[dict[tuple[str, str], tuple[float, ...]], list[str]]:
    """p by metric and system, one a seed in common with the baseline, and notes on systems without."""
    p_values: dict[tuple[str, str], tuple[float, ...]] = {}
    notes = []
    groups: dict[
        Seeds, list[str]
    ] = {}  # systems that have the same seeds in common with it are tested at once
    for name in scored:
        seeds = tuple(seed for seed in scored[name] if seed in scored[baseline])
        if name != baseline and seeds:
            groups.setdefault(seeds, []).append(name)
        elif name != baseline:
            notes.append(f"{name} and {baseline} have no run of the same seed, so they were not tested.")
    for seeds, names in groups.items():
        runs = {name: [scored[name][seed] for seed in seeds] for name in (baseline, *names)}
        try:
            p_values.update(_p_values(runs, trials))
        except IkdError as error:
            notes.append(f"{', '.join(names)} not tested against {baseline}: {error}.")
    return p_values, notes


def _p_values(
    runs: dict[str, list[tuple[Record, Score]]], trials: int | None
) -> dict[tuple[str, str], tuple[float, ...]]:
    """p by metric and system of as many runs for each, the baseline first."""
    texts = {name: [read_translations(run, score) for run, score in own] for name, own in runs.items()}
    lines = {name: [hypotheses for hypotheses, _ in own] for name, own in texts.items()}
    baseline, *others = runs
    scores = [score for own in runs.values() for _, score in own]
    metrics = [metric for metric in METRICS if all(metric in score.metrics for score in scores)]
    compared = compare_runs(lines, texts[baseline][0][1], make_scorers(metrics=metrics), TEST, trials)
    for metric, comparison in compared.items():
        for name, own in runs.items():
            for (run, score), value in zip(own, comparison.outcomes[name].scores):
                stored = score.metrics[metric].value
                check(
                    abs(value - stored) < _AS_STORED,
                    f"{run.folder / score.output} scores {value:.2f} {comparison.metric}, but "
                    f"{run.folder / FILE} says {stored:.2f}",
                )
    return {
        (metric, name): compared[metric].outcomes[name].p_values for metric in compared for name in others
    }


def read_translations(run: Record, score: Score) -> tuple[list[str], list[str]]:
    """Hypotheses and references of the sentences that a score is of.

    Raises:
        IkdError: they are not there any more, or are others.
    """
    path = run.folder / score.output
    check(path.is_file(), f"{path} is missing")
    found = read_generate_output(str(path))
    if Path(score.references).is_file():
        references = dict(enumerate(remove_bpe(line) for line in read_lines(score.references)))
    else:
        references = found.references
    ids = score.sentences.places()
    texts = {place: references[place] for place in ids if place in references}
    check(
        Sentences.of(score.sentences.group, texts) == score.sentences,
        f"the references of {path} are not those that it was scored with: score it again with ikd-record",
    )
    total = max(ids, default=-1) + 1
    everything = {place: text for place, text in found.hypotheses.items() if place < total}
    for place in range(total):  # those that were not scored may be missing
        if place not in set(ids):
            everything.setdefault(place, "")
    hypotheses = ordered_sentences(everything, total, str(path), "translation", found.skipped)
    return [hypotheses[place] for place in ids], [texts[place] for place in ids]
