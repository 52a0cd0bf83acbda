"""``ikd-score``: BLEU, chrF, TER and METEOR, with signatures, of one system or of several against a baseline.

Only output whose every sentence is there is scored: see :mod:`ikd_fairseq.evaluation.translations`.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import check, command
from ..evaluation.meteor import MODULES as METEOR_MODULES
from ..evaluation.meteor import Meteor
from ..evaluation.metrics import METRICS, PRESETS, compute_scores, make_scorers
from ..evaluation.significance import TESTS, check_trials, compare_runs, files_of_systems
from ..evaluation.translations import load_run, load_translations
from ..io.atomic import check_output, write_json
from ..io.text_index import sentence_counts
from .arguments import given, parse, positive_int

METEOR = "meteor"

Texts = Sequence[str] | Mapping[int, str]  # by sentence, from 0


def evenly_spaced(count: int, total: int) -> list[int]:
    """*count* positions spread over ``range(total)``, each in the middle of its share; at most *total*."""
    count = min(count, total)
    return [(2 * place + 1) * total // (2 * count) for place in range(count)]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-score",
        description="Scores translations by sacreBLEU's BLEU, chrF and TER and by METEOR, with signatures: "
        "those of one system, or those of several systems over several runs each, tested against a baseline. "
        "Output that lacks sentences of the test set is refused.",
        epilog="fairseq drops the longest sentences of a test set, which may have any id. A missing id below "
        "the highest is always found. Sentences missing at the end are found only when their number is "
        "known: from --sentences, --references, --data with --split, or the log of fairseq-generate where it "
        "is in the same file (2>&1).",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    _add_input_arguments(source.add_argument, parser.add_argument)
    add = parser.add_argument
    preset = "tokenised: text as it stands, lower-cased (the setting of the papers on Multi30K); "
    preset += "detokenised: plain text, 13a tokenisation, cased (default: %(default)s)"
    add("--preset", choices=PRESETS, default="tokenised", help=preset)
    joined = "join subwords ('@@ ') in hypotheses, references and sources first"
    add("--remove-bpe", action="store_true", help=joined)
    moses = "with --preset detokenised: undo Moses tokenisation of both sides first (de, fr, ...)"
    add("--detokenise", metavar="LANGUAGE", help=moses)
    metrics = "some of bleu, chrf, ter, meteor (default: all but meteor)"
    known, default = (*METRICS, METEOR), list(METRICS)
    add("--metrics", nargs="+", choices=known, default=default, metavar="METRIC", help=metrics)
    samples = "also print N translations, evenly spaced over the test set (default: %(default)s)"
    add("--samples", type=int, default=0, metavar="N", help=samples)
    add("--json", metavar="FILE", help="also write the scores to FILE")
    add = parser.add_argument_group("comparison (with --baseline and --references)").add_argument
    system = "system to compare: its name, and as many files as the baseline has, one a run; run i is tested "
    system += "against run i of the baseline; may be given again"
    add("--system", nargs="+", action="append", metavar=("NAME", "FILE"), help=system)
    test = "paired bootstrap, or paired approximate randomisation (default: bootstrap)"
    add("--test", choices=TESTS, help=test)
    trials = "resamples or trials of the test (default: 1000 for bootstrap, 10000 for randomisation)"
    add("--trials", type=positive_int, metavar="N", help=trials)
    add = parser.add_argument_group("METEOR 1.5 (with --metrics meteor; needs Java)").add_argument
    language = f"language of the translations: {', '.join(METEOR_MODULES)}"
    add("--meteor-language", choices=METEOR_MODULES, metavar="LANGUAGE", help=language)
    jar = "meteor-1.5.jar, with its paraphrase tables in the folder data beside it (default: METEOR_JAR of "
    jar += "the environment, else that of the package pycocoevalcap)"
    add("--meteor-jar", metavar="FILE", help=jar)
    return parser


def _add_input_arguments(source: Callable, add: Callable) -> None:
    generated = (
        "output of fairseq-generate; several files for one test set generated in parts by --num-shards"
    )
    source("--generate-output", nargs="+", metavar="FILE", help=generated)
    source("--hypotheses", metavar="FILE", help="translations, one a line")
    baseline = "system that --system is compared with: its name, and one file a run (output of "
    baseline += "fairseq-generate, or translations, one a line)"
    source("--baseline", nargs="+", metavar=("NAME", "FILE"), help=baseline)
    references = "reference translations, one a line, in the order of the test set and tokenised like the "
    references += "hypotheses (default: the T- lines of --generate-output)"
    add("--references", metavar="FILE", help=references)
    add("--sentences", type=positive_int, metavar="N", help="how many sentences the test set has")
    add("--data", metavar="DATA", help="binarised data folder, to see how many sentences --split has")
    add("--split", metavar="SPLIT", help="split of --data that was translated: test, test1, valid ...")


def _check_options(args: argparse.Namespace) -> None:
    together = "--data and --split tell the number of sentences together"
    check((args.data is None) == (args.split is None), f"{together}; give both or neither")
    check(args.hypotheses is None or args.references is not None, "--hypotheses needs --references FILE")
    check(args.samples >= 0, f"--samples {args.samples}: give a number of at least 0")
    plain = "--detokenise makes plain text, which --preset tokenised would not score"
    scored = args.detokenise is None or args.preset == "detokenised"
    check(scored, f"{plain}; add --preset detokenised")
    if METEOR in args.metrics:
        check(args.meteor_language, "--metrics meteor needs --meteor-language, such as de")
    else:
        foreign = given(args, "meteor_language", "meteor_jar")
        check(not foreign, f"{foreign} is of no use without METEOR; add meteor to --metrics")
    if args.baseline:
        check(args.system, "--baseline needs a system to compare; add --system NAME FILE [FILE ...]")
        check(args.references, "--baseline needs --references FILE")
        check(args.samples == 0, "--samples prints translations of one system; leave it out with --baseline")
        check_trials(args.trials)
    else:
        foreign = given(args, "system", "test", "trials")
        check(not foreign, f"{foreign} belongs to a comparison; add --baseline NAME FILE [FILE ...]")


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    """How every file of translations is read: references, sentences by the option that counts them, text."""
    counts = {"--sentences": args.sentences}
    if args.data:
        found = sentence_counts(args.data.split(os.pathsep)[0], args.split).values()
        counts[f"--split {args.split} of {args.data}"] = next(iter(found))
    prepared = {"without_bpe": args.remove_bpe, "detokenise_as": args.detokenise}
    return {"references": args.references, "counts": counts, **prepared}


def print_score(name: str, score: float, signature: str) -> None:
    print(f"{name:<6}{score:>7.2f}  {signature}")


def print_samples(count: int, hypotheses: Texts, references: Texts, sources: Texts | None) -> None:
    """Prints *count* sentences with what is known of them, evenly spaced over all *hypotheses*."""
    for place in evenly_spaced(count, len(hypotheses)):
        print(f"\nsentence {place}")
        if sources:
            print(f"  source      {sources[place]}")
        print(f"  hypothesis  {hypotheses[place]}\n  reference   {references[place]}")


def _score_one(args: argparse.Namespace, meteor: Meteor | None) -> dict[str, Any]:
    """Prints the scores of one system. Returns its part of the report."""
    files = args.generate_output or [args.hypotheses]
    generated = bool(args.generate_output)
    text = load_translations(files, generated=generated, **_reading(args))
    scores = compute_scores(text.hypotheses, text.references, args.preset, args.metrics)
    if meteor:
        scores[METEOR] = meteor.score(text.hypotheses, text.references)

    sentences = len(text.hypotheses)
    print(f"{sentences} sentences, {args.preset}")
    for score in scores.values():
        print_score(**score)
    print_samples(args.samples, text.hypotheses, text.references, text.sources)
    return {"hypotheses": files, "sentences": sentences, "counted_by": text.counted_by, "scores": scores}


def _compare(args: argparse.Namespace, meteor: Meteor | None) -> dict[str, Any]:
    """Prints the comparison of the systems. Returns its part of the report."""
    files = files_of_systems(args.baseline, args.system)
    reading = _reading(args)
    texts = {name: [load_run(path, **reading) for path in paths] for name, paths in files.items()}
    baseline, *_ = texts
    first = texts[baseline][0]
    runs = {name: [text.hypotheses for text in own] for name, own in texts.items()}

    test = args.test or "bootstrap"
    method = TESTS[test]
    trials = args.trials or method.trials
    comparisons = compare_runs(runs, first.references, make_scorers(args.preset, args.metrics), test, trials)
    tested = bool(comparisons)
    if meteor:
        comparisons[METEOR] = meteor.compare(runs, first.references)

    sentences = len(first.hypotheses)
    spread = "± sample standard deviation over runs"
    print(f"{sentences} sentences, {args.preset}; baseline: {baseline}; {spread}")
    if tested:
        print(
            f"{method.description(trials)}, run i against run i of {baseline}; "
            "† p < 0.05, ‡ p < 0.01, where every pair of runs reaches it in the same direction"
        )
    for comparison in comparisons.values():
        print(f"\n{comparison}")
    return {
        "baseline": baseline,
        "systems": files,
        "sentences": sentences,
        "counted_by": first.counted_by,
        "test": test,
        "trials": trials,
        "comparisons": {metric: comparison.as_json() for metric, comparison in comparisons.items()},
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    _check_options(args)
    if args.json:
        compared = filter(None, [args.baseline, *(args.system or ())])  # a name first in each
        files = [file for _, *files in compared for file in files]
        files += filter(None, [args.hypotheses, args.references, *(args.generate_output or ())])
        check_output(args.json, files)
    meteor = None
    if METEOR in args.metrics:
        meteor = Meteor.find(args.meteor_language, args.preset, args.meteor_jar)
    report = _compare(args, meteor) if args.baseline else _score_one(args, meteor)
    if args.json:
        settings = ("references", "preset", "remove_bpe", "detokenise")
        write_json(args.json, {**{name: getattr(args, name) for name in settings}, **report})
