"""``ikd-record``: adds to the record of a run, ``RUN/run.json``, what one of its steps has made."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import IkdError, check, command
from ..evaluation.meteor import Meteor
from ..evaluation.metrics import METRICS
from ..experiments.record import FILE, Record
from ..experiments.scoring import PRESET, languages, score_output
from ..experiments.systems import derive
from ..io.generate_output import decoding_speed, read_generate_output
from .arguments import parse, positive_int
from .score import print_samples, print_score

logger = logging.getLogger(__name__)


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    return name, value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-record",
        description="Adds to the record of a run, RUN/run.json, what one of its steps has made. Tables and "
        "the report read records alone; train.sh and translate.sh write them.",
    )
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

    trained = "a finished training: data, options, versions, hardware, time"
    add = steps.add_parser("train", help=trained).add_argument
    add("run", metavar="RUN", type=Path, help="folder with checkpoint_last.pt")
    add("--data", metavar="DATA", type=Path, help="data folder (default: that of the options)")
    add("--system", metavar="NAME", required=True, help="its name in tables, see ikd-systems")
    add("--like", metavar="NAME", help="registered system that it is a variant of")
    label = "what else tells the run from others of its grid, such as text=colour; may be given again"
    add("--label", metavar="NAME=VALUE", type=_label, action="append", default=[], help=label)

    translated = "a translation: scores, speed, the checkpoint that translated"
    add = steps.add_parser("score", help=translated).add_argument
    add("run", metavar="RUN", type=Path, help="folder with the output of fairseq-generate")
    add("--data", metavar="DATA", type=Path, required=True, help="folder that prepare.sh made")
    add("--split", metavar="SPLIT", required=True, help="test, test1, valid, ...")
    add("--output", metavar="FILE", help="of fairseq-generate, in RUN (default: generate-SPLIT.txt)")
    add("--checkpoint", metavar="FILE", type=Path, help="that translated (default: RUN/average.pt)")
    add("--beam", metavar="N", type=positive_int, default=5, help="of the search (default: 5)")
    search = "further options of the search, as one word: --search='--lenpen 0.6'; no table shows such scores"
    add("--search", metavar="OPTIONS", default="", help=search)
    images = "the system looked at images: sentences without one do not count"
    add("--with-images", action="store_true", help=images)
    add("--metrics", nargs="+", choices=METRICS, default=list(METRICS), help="(default: all)")
    add("--meteor", action="store_true", help="METEOR too, where Java and its jar are there (METEOR_JAR)")
    add("--samples", type=int, default=0, metavar="N", help="also print N translations")

    add = steps.add_parser("speed", help="a timed fairseq-generate").add_argument
    add("run", metavar="RUN", type=Path, help="folder of the run")
    add("--output", metavar="FILE", type=Path, required=True, help="of fairseq-generate")
    add("--name", required=True, help='what was timed, such as "beam 1, batch 64"')
    return parser


def _train(args: argparse.Namespace) -> None:
    from ..experiments.training_facts import training_facts  # needs torch

    system = derive(args.system, args.like or args.system)
    record = Record.update(args.run, **training_facts(args.run, system, args.data, dict(args.label)))
    stopped_by = record.stopped_by or "hand"
    logger.info("%s/%s: %s updates, stopped by %s", args.run, FILE, record.updates, stopped_by)


def _score(args: argparse.Namespace) -> None:
    from ..experiments.training_facts import model_facts  # needs torch
    from ..io.checkpoints import languages_of, load_checkpoint

    output = args.run / (args.output or f"generate-{args.split}.txt")
    check(output.is_file(), f"{output} is missing: translate {args.split} first, with translate.sh")
    checkpoint = args.checkpoint or args.run / "average.pt"
    state = load_checkpoint(checkpoint) if checkpoint.is_file() else None
    source, target = languages_of(state) if state else (None, None)  # of the two directions of the data
    if source is None or target is None:
        source, target = languages(args.data, args.split)
    meteor = Meteor.if_there(target, PRESET) if args.meteor else None
    model = model_facts(checkpoint, state) if state else {}
    made_by = {"beam": args.beam, "search": args.search, "checkpoint": model.get("sha256", "")}
    scores = score_output(
        output, args.data, args.split, args.with_images, args.metrics, meteor, target, **made_by
    )
    facts = {"pair": f"{source}-{target}"}  # a teacher may have been trained without a record
    Record.update(args.run, scores={args.split: scores}, **facts, **({} if args.search else {"model": model}))
    for number, score in enumerate(scores):
        if number == 0 or score.sentences.count != scores[0].sentences.count:  # else the same sentences again
            search = f", {score.search} (in no table)" if score.search else ""
            counted = f"{score.sentences.count} sentences ({score.sentences.group})"
            print(f"{counted}, {PRESET}, beam {score.beam}{search}")
            for metric in score.metrics.values():
                print_score(metric.name, metric.value, metric.signature)
    if args.samples:
        found = read_generate_output(str(output))
        print_samples(args.samples, found.hypotheses, found.references, found.sources)


def _speed(args: argparse.Namespace) -> None:
    check(args.output.is_file(), f"{args.output} is missing: time fairseq-generate first")
    speed = decoding_speed(args.output)
    if speed is None:
        cut_off = f"{args.output} has no line 'Translated ... sentences'"
        raise IkdError(f"{cut_off}: it was cut off, so time it again")
    Record.update(args.run, speeds={args.name: speed})


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    {"train": _train, "score": _score, "speed": _speed}[args.step](args)
