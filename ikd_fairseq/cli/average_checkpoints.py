"""``ikd-average-checkpoints``: the mean of the parameters of several checkpoints of one training run.

The usual protocol on Multi30K averages the last ten epoch checkpoints (Wu et al. 2021). fairseq's own script
for this is not part of its package on PyPI.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import check, command
from ..io.checkpoints import NAMINGS, average_checkpoints, select_checkpoints
from .arguments import given, parse, positive_int

DEFAULT_LAST = 10


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-average-checkpoints",
        description="Averages the parameters of several fairseq checkpoints of one training run into one "
        "checkpoint for fairseq-generate. Optimizer state is left out.",
        epilog="example: ikd-average-checkpoints --last 10 --output run/average.pt run",
    )
    add = parser.add_argument
    inputs = "a folder of checkpoints (fairseq's --save-dir), or the checkpoints themselves"
    add("inputs", nargs="+", metavar="FOLDER|FILE", help=inputs)
    output = "checkpoint to write; replaced when complete if it exists"
    add("--output", required=True, metavar="FILE", help=output)
    last = f"with a folder: how many checkpoints to average (default: {DEFAULT_LAST})"
    add("--last", type=positive_int, metavar="N", help=last)
    fewer = "with --last: average what there is, at least one, where there are fewer"
    add("--or-fewer", action="store_true", help=fewer)
    examples = {by: naming.example for by, naming in NAMINGS.items()}
    by = (
        "with a folder: the last epochs ({epochs}, the default), the last updates ({updates}) or the best by "
    )
    by += "the metric of the training run ({best})"
    add("--by", choices=sorted(NAMINGS), help=by.format(**examples))
    upto = "with a folder: ignore checkpoints of a later epoch, or update, than this one"
    add("--upto", type=positive_int, metavar="N", help=upto)
    return parser


def _inputs(args: argparse.Namespace) -> Sequence[str | Path]:
    folders = [path for path in args.inputs if os.path.isdir(path)]
    if not folders:
        selecting = given(args, "last", "or_fewer", "by", "upto")
        check(not selecting, f"{selecting} selects from a folder, but {args.inputs[0]} is not a folder")
        return args.inputs
    check(len(args.inputs) == 1, f"give one folder or several files, not {folders[0]} beside others")
    by = args.by or "epochs"
    check(args.upto is None or by != "best", "--upto bounds epochs or updates; leave it out with --by best")
    return select_checkpoints(folders[0], by, args.last or DEFAULT_LAST, args.upto, args.or_fewer)


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    average_checkpoints(_inputs(args), args.output)
