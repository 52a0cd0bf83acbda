"""``ikd-export``: a checkpoint for decoding alone, without the student, optimizer state or training state."""

import argparse
import logging
from collections.abc import Sequence

from ..compression.export import export_checkpoint
from ..errors import IkdError, command
from ..io.checkpoints import load_checkpoint, size_in_megabytes
from ..serving.text import TOKENIZERS
from .arguments import parse

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-export",
        description="Writes a checkpoint for decoding alone: the same translations without the student, "
        "optimizer state and other training state. It loads in fairseq-generate, fairseq-interactive and the "
        "hub interface; an image-free model needs no image, pack or teacher there. Languages, dictionaries "
        "and BPE merges travel in it, so that ikd-translate needs nothing else.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="checkpoint of a training run or an average")
    add("output", metavar="OUTPUT", help="checkpoint to write; replaced when complete if it exists")
    half = "store parameters as float16: half the size, but translations may differ slightly"
    add("--half", action="store_true", help=f"{half} (default: the type that CHECKPOINT has)")
    data = (
        "data folder of the training, with dictionaries and BPE merges (default: where the training had it)"
    )
    add("--data", metavar="DATA", help=data)
    words = "how ikd-translate is to tell words apart: moses, or none for text in words (default: moses)"
    add("--tokenizer", choices=TOKENIZERS, help=words)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    export_checkpoint(args.checkpoint, args.output, args.half, _text(args))
    before, after = size_in_megabytes([args.checkpoint]), size_in_megabytes([args.output])
    print(f"{args.checkpoint}: {before:.1f} MB\n{args.output}: {after:.1f} MB ({after / before:.0%})")


def _text(args: argparse.Namespace) -> dict | None:
    """What travels with the checkpoint; None if it is nowhere, which fairseq's own decoding can do with."""
    import fairseq  # noqa: F401  the plugin registers before its parts are asked for

    from ..serving.facts import facts_of_checkpoint

    state = load_checkpoint(args.checkpoint)
    try:
        return facts_of_checkpoint(state, args.checkpoint, args.data, args.tokenizer).record()
    except IkdError as error:
        if args.data or args.tokenizer:
            raise
        logger.warning("ikd-translate will want --data for this file: %s", error)
        return None
