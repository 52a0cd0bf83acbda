"""``ikd-prune``: a checkpoint whose smallest weights are zero, to retrain under that mask; its packed form.

What is pruned, and how retraining keeps it, is described in :mod:`ikd_fairseq.compression.pruning`.
"""

import argparse
from collections.abc import Sequence

from ..compression.pruned_checkpoint import Report, pack_checkpoint, prune_checkpoint, unpack_checkpoint
from ..errors import command
from ..io.checkpoints import size_in_megabytes
from .arguments import parse


def _table(summary: Report) -> str:
    lines = [f"{'kind':<14}{'parameters':>14}{'kept':>14}{'pruned':>10}"]
    for count in (*summary.kinds, summary.prunable, summary.all):
        lines.append(f"{count.kind:<14}{count.parameters:>14,}{count.kept:>14,}{count.sparsity:>10.2%}")
    ratio = summary.packed_bytes / summary.dense_bytes
    sizes = f"{summary.dense_bytes:,} bytes, packed {summary.packed_bytes:,} ({ratio:.1%})"
    lines.append(f"parameters take {sizes}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-prune",
        description="Sets the smallest weights of a checkpoint to zero and records which in a mask; training "
        "that begins with OUTPUT (fairseq-train --finetune-from-model OUTPUT) keeps them at zero. All weight "
        "matrices of the translation model count together; biases, normalisation and the student network are "
        "not pruned. Optimizer state is left out.",
        epilog="example: ikd-prune run/average.pt pruned.pt --sparsity 0.8",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="checkpoint of a training run, an average or an export")
    add("output", metavar="OUTPUT", help="checkpoint to write; replaced when complete if it exists")
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    zero = "prune to this share of the weights, above 0 and below 1"
    add("--sparsity", type=float, metavar="SHARE", help=f"{zero}; a pruned checkpoint can be pruned further")
    pack = "write a pruned CHECKPOINT small, with one bit a weight and the weights that are kept"
    add("--pack", action="store_true", help=f"{pack}; it loads wherever CHECKPOINT does")
    add("--unpack", action="store_true", help="write a packed CHECKPOINT as it was before")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    if args.pack:
        summary = pack_checkpoint(args.checkpoint, args.output)
    elif args.unpack:
        summary = unpack_checkpoint(args.checkpoint, args.output)
    else:
        summary = prune_checkpoint(args.checkpoint, args.output, args.sparsity)
    print(_table(summary))
    for path in (args.checkpoint, args.output):
        print(f"{path}: {size_in_megabytes([path]):.3f} MB")
