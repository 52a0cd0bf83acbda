"""What a reader must know of scores and tables, in sentences beside them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from ..evaluation.significance import MARKS, TESTS
from ..io.html import count, number
from .budget import place_of, text_of, tokens_an_update, unlike_options
from .comparison import TEST, Scores, Systems
from .plan import ORIGINAL, TEXTS, Place
from .record import Record
from .systems import System


def budget_notes(runs: Sequence[Record], systems: Mapping[str, System]) -> list[str]:
    """Budget and data of the runs, and the options of single systems."""
    notes = []
    for run in [run for run in runs if run.options and run.model][:1]:
        updates = run.options.get("optimization", {}).get("max_update")
        notes.append(
            f"At most {updates} updates of {tokens_an_update(run)} tokens, mean of the last "
            f"{run.model['averaged']} epochs (of all if there were fewer)."
        )
    cnns = dict.fromkeys(run.options.get("model", {}).get("backbone") for run in runs if run.images != "none")
    if named := ", ".join(str(cnn) for cnn in cnns if cnn):
        notes.append(f"CNN: {named}.")
    first = {run.pair: run.data["splits"]["train"] for run in reversed(runs) if _trained_on(run)}
    for pair in dict.fromkeys(run.pair for run in runs if run.pair in first):
        train = first[pair]
        images = train.get("sentences_with_image")
        size = f", images of {train['image_size']} px for {images:,} of them" if images else ""
        notes.append(f"{pair}: {train['sentences']:,} sentences to train on{size}.")
    for name in dict.fromkeys(run.system for run in runs if run.system in systems):
        if systems[name].own_options:
            notes.append(f"{systems[name].title}: `{' '.join(systems[name].own_options)}`.")
    return notes


def _trained_on(run: Record) -> bool:
    return bool(run.data.get("splits", {}).get("train"))


def unfinished_note(
    finished: Sequence[Record], shown: Sequence[Record], planned: Sequence[Place]
) -> list[str]:
    """Which planned runs are missing, and which of the *finished* ones are not *shown*."""
    done = set(map(place_of, finished))
    missing = [place for place in planned if place not in done]
    apart = [place_of(run) for run in finished if run not in shown]
    return [
        f"{reason}, and not counted: {', '.join(_names(places, planned))}."
        for reason, places in (("Not finished", missing), ("Not finished on every text", apart))
        if places
    ]


def _names(places: Sequence[Place], planned: Sequence[Place]) -> list[str]:
    """As a grid calls their folders, text and pair left out where all of *planned* have one."""
    several_texts = len({place._replace(text="") for place in planned}) < len(planned)
    several_pairs = len({place.pair for place in planned}) > 1
    names = []
    for pair, text, system, seed in places:
        folders = [text] * several_texts + [pair] * several_pairs
        names.append("/".join([*folders, system if seed is None else f"{system}-seed{seed}"]))
    return names


def method_notes(systems: Systems) -> list[str]:
    """Which systems are means over several methods: runs that differ in more than their seed."""
    notes = []
    for name, own in systems.items():
        unlike = [
            f"`{option}` {', '.join(f'{value} ({_seeds(runs)})' for value, runs in values.items())}"
            for option, values in unlike_options(own).items()
        ]
        if unlike:
            notes.append(f"{name}: its runs differ in more than their seed, {'; '.join(unlike)}.")
    return notes


def _seeds(runs: Sequence[Record]) -> str:
    return f"seed{'s' * (len(runs) > 1)} {', '.join(str(run.seed) for run in runs)}"


def pair_notes(systems: Systems, baseline: str | None) -> list[str]:
    """Of how many runs differences are, where a run has none of the baseline's to be held against."""
    notes, seeds = [], {run.seed for run in systems.get(baseline or "", [])}
    for name, own in systems.items():
        paired = sum(run.seed in seeds for run in own)
        if seeds and not paired:
            notes.append(f"{name} and {baseline} have no run of the same seed, so they were not compared.")
        elif seeds and paired < len(own):
            notes.append(
                f"{name}: differences from {baseline} are of {paired} of its {len(own)} runs, those of a "
                "seed that both have; a mark would need all."
            )
    return notes


def seed_notes(runs: Sequence[Record]) -> list[str]:
    """What ± means, and which systems have none."""
    counts = Counter((run.system, run.pair, text_of(run)) for run in runs)
    single = dict.fromkeys(place[0] for place, count in counts.items() if count == 1)
    notes = ["Mean ± standard deviation of the sample over seeds."] if max(counts.values()) > 1 else []
    if single:
        which = "Every system" if single.keys() == {run.system for run in runs} else ", ".join(single)
        notes.append(
            f"{which}: one run, so there is no deviation, and what another seed would give is unknown."
        )
    return notes


def figure_notes(
    runs: Sequence[Record], metrics: Sequence[str], tested: bool, trials: int | None = None
) -> list[str]:
    """Signatures, and what ± and marks mean."""
    scores = [score for run in runs for own in run.scores.values() for score in own]
    found = {key: metric for score in scores for key, metric in score.metrics.items()}
    notes = [f"{found[key].name}: `{found[key].signature}`." for key in metrics if key in found]
    if "meteor" in metrics and "meteor" not in found:
        notes.append("No METEOR: the runs were scored without it (it needs Java and its jar, METEOR_JAR).")
    notes += seed_notes(runs)
    if tested:
        notes.append(
            "†/‡: for every seed, differs from the baseline of that seed with p < 0.05/0.01, better or "
            f"worse, always in the same direction (sacreBLEU's {TESTS[TEST].title}, "
            f"{trials or TESTS[TEST].trials:,} {TESTS[TEST].trial_name})."
        )
    return notes


def text_notes(runs: Sequence[Record]) -> list[str]:
    """What differs between source texts, and what share of the words was masked."""
    notes = [
        f"In brackets the difference from the same system on the original text, {TEXTS[ORIGINAL]}; words are "
        "masked in training and test alike."
    ]
    for text, title in TEXTS.items():
        own = (run.data["masked"] for run in runs if text_of(run) == text and "masked" in run.data)
        if masked := next(own, None):
            splits = ", ".join(f"{split['split']} {split['percent']:.2f} %" for split in masked["splits"])
            notes.append(f"{title}: {text} words masked by {masked['token']}: {splits}.")
    return notes


def verdict(systems: Collection[str], scores: Scores) -> str:
    """How many differences from the first of *systems* are significant, and which, in a sentence."""
    baseline, *others = systems
    if not others:
        return "There is one system, so there is nothing to compare it with."
    tested = {key: outcome for key, outcome in scores.outcomes.items() if outcome.p_values}
    if not tested:
        return f"No difference from {baseline} could be tested."
    marked = []
    for (metric, system, split), outcome in tested.items():
        if outcome.mark and outcome.difference is not None:
            difference = f"{number(outcome.difference, sign=True)} {scores.metrics[metric].name}"
            marked.append(f"{system} on {split} ({difference}{outcome.mark})")
    found = f"{len(marked)} {'is' if len(marked) == 1 else 'are'}" if marked else "none is"
    which = f": {', '.join(marked)}" if marked else ""
    every = count(len(tested), "difference")
    return f"Of {every} from {baseline}, {found} significant at p < {MARKS[-1][0]}{which}."


def page_notes(systems: Systems, scores: Collection[Scores]) -> list[str]:
    """What a reader must know of tables of *scores*, the first of *systems* being the baseline."""
    found = seed_notes([run for own in systems.values() for run in own])
    found += [*method_notes(systems), *pair_notes(systems, next(iter(systems)))]
    if any(outcome.p_values for of_group in scores for outcome in of_group.outcomes.values()):
        marks = ", ".join(f"{mark} p < {limit}" for limit, mark in reversed(MARKS))
        test = TESTS[TEST]
        found.append(
            f"Below each score: difference from {next(iter(systems))}, and p by {test.description()}, "
            f"run against run of the same seed; {marks}, where every run reaches it in the same direction. "
            f"Of {test.by_chance} pairs of runs that are equally good, one is expected below 0.05."
        )
    return found
