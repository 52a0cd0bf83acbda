"""Scores of systems side by side: mean, deviation, significance of differences from a baseline.

Scores come from the records, and meet only if they are of the same sentences by the same settings. For the
test the translations are scored again, run against the baseline's run of the same seed (see
:mod:`ikd_fairseq.evaluation.significance`). Where that is not possible there is no p, and a note says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import IkdError, check
from ..evaluation.metrics import METRICS, make_scorers
from ..evaluation.references import read_references
from ..evaluation.significance import Outcome, compare_runs
from ..evaluation.translations import ordered_sentences
from ..io.generate_output import read_generate_output
from ..io.progress import progress
from .record import ALL, FILE, Group, Metric, Record, Score, Sentences

TEST = "bootstrap"

_AS_STORED = 0.005  # scores closer than this are the same: half a step of what is shown

Systems = dict[str, list[Record]]  # runs by system
Scored = dict[str, dict[int | None, tuple[Record, Score]]]  # of one split, by system and seed
PValues = dict[tuple[str, str], tuple[float, ...]]  # by metric and system, one a pair of runs


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


@dataclass(frozen=True)
class Scores:
    """Scores of all systems.

    Differences and p are of the pairs of runs that were tested, or where none was, of all with the same seed.
    """

    metrics: dict[str, Metric]  # names and signatures, by key ("bleu", ...)
    sentences: dict[str, Sentences]  # by split
    outcomes: dict[tuple[str, str, str], Outcome]  # by metric, system and split, where there are scores
    notes: list[str]  # sentences about what is missing


def compare_systems(
    systems: Systems,
    splits: Sequence[str],
    baseline: str | None = None,
    group: Group = ALL,
    beam: int | None = None,
    trials: int | None = None,
    metrics: Sequence[str] = tuple(METRICS),
) -> Scores:
    """Means over runs, and the significance of differences from *baseline*.

    Args:
        splits: those to compare on.
        group: which of their sentences.
        beam: of the search; by default the widest that all runs were scored with.
        trials: resamples of the test; by default sacreBLEU's 1,000. With 0 nothing is tested.
        metrics: those to test, of sacreBLEU's; others take their time too.

    Raises:
        IkdError: scores of two runs do not compare, as they are of other sentences, settings or beams, or
            those of one run, as several checkpoints made them.
    """
    every = {split: _scored(systems, split, group, beam) for split in splits}
    _check_checkpoints(every)
    found, sentences = _common(every)
    tested = [split for split in splits if baseline in every[split] and len(every[split]) > 1 and trials != 0]
    p_values: dict[str, PValues] = {}
    notes: list[str] = []
    for split in progress(tested, desc="significance", unit="split", disable=not tested):
        p_values[split], untested = _test(every[split], str(baseline), trials, metrics)
        notes += [f"{split}: {note}" for note in untested]
    for own in systems.values():
        for split in sentences:
            if lacking := ", ".join(run.name for run in own if not run.scores.get(split)):
                notes.append(f"{split}: no score of {lacking}.")
    outcomes = {
        (metric, name, split): outcome
        for split, scored in every.items()
        for metric in found
        for name, outcome in _outcomes(scored, metric, baseline, p_values.get(split, {})).items()
    }
    return Scores(found, sentences, outcomes, notes)


def _scored(systems: Systems, split: str, group: Group, beam: int | None) -> Scored:
    scored: Scored = {}
    if beam is None:
        beam = _widest_in_common([run for own in systems.values() for run in own], split, group)
    for name, own in systems.items():
        for run in own:
            if (score := run.score(split, group, beam)) is not None:
                scored.setdefault(name, {})[run.seed] = run, score
    return scored


def _widest_in_common(runs: Sequence[Record], split: str, group: Group) -> int | None:
    """None where no run was scored; refuses runs that have no beam in common."""
    beams = [beams for run in runs if (beams := run.beams(split, group))]
    if not beams:
        return None
    every = ", ".join(map(str, sorted(set.union(*beams))))
    several = f"{split} was translated with beams of {every}, with none of them by all runs"
    check(bool(common := set.intersection(*beams)), f"{several}: translate it by one, with BEAM=")
    return max(common)


def _outcomes(scored: Scored, metric: str, baseline: str | None, p_values: PValues) -> dict[str, Outcome]:
    values = {
        name: {s: score.metrics[metric].value for s, (_, score) in own.items() if metric in score.metrics}
        for name, own in scored.items()
    }
    outcomes = {}
    for name, own in values.items():
        theirs = values.get(baseline or "", {}) if name != baseline else {}
        differences = tuple(own[seed] - theirs[seed] for seed in own if seed in theirs)
        if own:
            outcomes[name] = Outcome(tuple(own.values()), differences, p_values.get((metric, name), ()))
    return outcomes


def _common(every: Mapping[str, Scored]) -> tuple[dict[str, Metric], dict[str, Sentences]]:
    """Metrics, and sentences by split, that all scores share; refuses what differs."""
    metrics: dict[str, tuple[Metric, Record]] = {}
    sentences: dict[str, tuple[Sentences, Record]] = {}
    remedy = "these scores do not compare, so leave one of the runs out"
    for split, scored in every.items():
        for run, score in (pair for by_seed in scored.values() for pair in by_seed.values()):
            theirs = score.sentences
            ours, first = sentences.setdefault(split, (theirs, run))
            check(
                ours.count == theirs.count,
                f"{split} of {first.folder} is of {ours.count} sentences, but that of {run.folder} of "
                f"{theirs.count}: {remedy}",
            )
            check(
                ours == theirs,
                f"{split} of {first.folder} is of other sentences ({ours.group}) than that of {run.folder} "
                f"({theirs.group}): {remedy}",
            )
            for key, metric in score.metrics.items():
                known, first = metrics.setdefault(key, (metric, run))
                check(
                    known.signature == metric.signature,
                    f"{metric.name} of {first.folder} ({known.signature}) does not compare with that of "
                    f"{run.folder} ({metric.signature}): score both alike",
                )
    return {key: metric for key, (metric, _) in metrics.items()}, {
        split: found for split, (found, _) in sentences.items()
    }


def _check_checkpoints(every: Mapping[str, Scored]) -> None:
    """Refuses a run whose scores are of several checkpoints, or of another than its record tells of."""
    first: dict[Path, tuple[str, str]] = {}
    for split, scored in every.items():
        for run, score in (pair for by_seed in scored.values() for pair in by_seed.values()):
            if told := run.model.get("sha256"):
                first.setdefault(run.folder, (told, f"{run.model['checkpoint']}, which was scored last"))
            if score.checkpoint:
                there, of_what = first.setdefault(run.folder, (score.checkpoint, f"that of {split}"))
                check(
                    score.checkpoint == there,
                    f"{run.folder}: {split} was translated by another checkpoint than {of_what}: translate "
                    "or score both by one, with translate.sh or ikd-record",
                )


def _test(
    scored: Scored, baseline: str, trials: int | None, metrics: Sequence[str]
) -> tuple[PValues, list[str]]:
    """p of every seed in common with the baseline, and notes on systems that could not be tested."""
    p_values: PValues = {}
    notes = []
    by_seeds: dict[tuple[int | None, ...], list[str]] = {}  # systems with the same seeds are tested at once
    for name in scored:
        seeds = tuple(seed for seed in scored[name] if seed in scored[baseline])
        if name != baseline and seeds:
            by_seeds.setdefault(seeds, []).append(name)
    for seeds, names in by_seeds.items():
        runs = {name: [scored[name][seed] for seed in seeds] for name in (baseline, *names)}
        try:
            p_values.update(_p_values(runs, trials, metrics))
        except IkdError as error:
            notes.append(f"{', '.join(names)} not tested against {baseline}: {error}.")
    return p_values, notes


def _p_values(
    runs: dict[str, list[tuple[Record, Score]]], trials: int | None, metrics: Sequence[str]
) -> PValues:
    """p of as many runs for each system, the baseline first."""
    texts = {name: [read_translations(run, score) for run, score in own] for name, own in runs.items()}
    lines = {name: [hypotheses for hypotheses, _ in own] for name, own in texts.items()}
    baseline, *others = runs
    scores = [score for own in runs.values() for _, score in own]
    there = [name for name in METRICS if name in metrics and all(name in score.metrics for score in scores)]
    compared = compare_runs(lines, texts[baseline][0][1], make_scorers(metrics=there), TEST, trials)
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
    references = found.references
    if Path(score.references).is_file():
        references = dict(enumerate(read_references(score.references)))
    places = score.sentences.places()
    texts = {place: references[place] for place in places if place in references}
    check(
        Sentences.of(score.sentences.group, texts) == score.sentences,
        f"the references of {path} are not those that it was scored with: score it again with ikd-record",
    )
    # Those that were not scored may be missing, or come behind.
    total = max(places, default=-1) + 1
    unscored = dict.fromkeys(set(range(total)) - set(places), "")
    own = {place: text for place, text in found.hypotheses.items() if place < total}
    hypotheses = ordered_sentences({**unscored, **own}, total, str(path), "translation", found.skipped)
    return [hypotheses[place] for place in places], [texts[place] for place in places]
