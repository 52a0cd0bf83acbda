"""``ikd-export``: a checkpoint for decoding alone, without the student, optimizer state or training state."""

import argparse
from collections.abc import Sequence

from ..compression.export import export_checkpoint
from ..errors import command
from ..io.checkpoints import size_in_megabytes
from .arguments import parse


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-export",
        description="Writes a checkpoint for decoding alone: the same translations without the student, "
        "optimizer state and other training state. It loads in fairseq-generate, fairseq-interactive and the "
        "hub interface; an image-free model needs no image, pack or teacher there.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="checkpoint of a training run or an average")
    add("output", metavar="OUTPUT", help="checkpoint to write; replaced when complete if it exists")
    half = "store parameters as float16: half the size, but translations may differ slightly"
    add("--half", action="store_true", help=f"{half} (default: the type that CHECKPOINT has)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    export_checkpoint(args.checkpoint, args.output, args.half)
    before, after = size_in_megabytes([args.checkpoint]), size_in_megabytes([args.output])
    print(f"{args.checkpoint}: {before:.1f} MB\n{args.output}: {after:.1f} MB ({after / before:.0%})")
