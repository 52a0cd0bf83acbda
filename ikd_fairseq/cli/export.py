"""``ikd-export``: a model for decoding alone, as a checkpoint or in the format of another engine."""

import argparse
import logging
import os
from collections.abc import Sequence

from ..analysis.output import require
from ..compression.export import export_checkpoint
from ..errors import IkdError, command
from ..io.atomic import check_new_folder
from ..io.checkpoints import State, architecture_of, load_checkpoint, size_in_megabytes
from ..serving.text import TOKENIZERS
from .arguments import parse

logger = logging.getLogger(__name__)

CHECKPOINT, HUGGINGFACE, CTRANSLATE2, ONNX = "checkpoint", "huggingface", "ctranslate2", "onnx"
_NEEDED = {
    HUGGINGFACE: ("transformers", "tokenizers"),
    CTRANSLATE2: ("transformers", "ctranslate2"),
    ONNX: ("onnx", "onnxruntime"),
}
_QUANTIZATIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int8_float16", "int8_bfloat16")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-export",
        description="Writes a model for decoding alone: the same translations without the student, "
        "optimizer state and other training state. A checkpoint loads in fairseq-generate, "
        "fairseq-interactive and the hub interface; an image-free model needs no image, pack or teacher "
        "there. Languages, dictionaries and BPE merges travel in it, so that ikd-translate needs nothing "
        "else. The other formats need no fairseq where they run.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="checkpoint of a training run or an average")
    add(
        "output",
        metavar="OUTPUT",
        help="checkpoint to write, replaced when complete if it exists; or a new folder",
    )
    formats = (
        "checkpoint (the default) of fairseq; huggingface: a folder for transformers' from_pretrained, in "
    )
    formats += "the M2M100 layout, and ctranslate2: a folder for CTranslate2 and ikd-translate, both for "
    formats += "text-only models; onnx: a folder for ikd-translate, for IKD-MMT and others that see no image"
    add("--format", choices=(CHECKPOINT, *_NEEDED), default=CHECKPOINT, help=formats)
    half = "store parameters as float16: half the size, but translations may differ slightly"
    add("--half", action="store_true", help=f"{half} (default: the type that CHECKPOINT has)")
    quantization = "with --format ctranslate2: type of the stored weights (default: float32)"
    add("--quantization", choices=_QUANTIZATIONS, help=quantization)
    data = (
        "data folder of the training, with dictionaries and BPE merges (default: where the training had it)"
    )
    add("--data", metavar="DATA", help=data)
    words = "how ikd-translate is to tell words apart: moses, or none for text in words (default: moses)"
    add("--tokenizer", choices=TOKENIZERS, help=words)
    licence = "terms of the training data, for the model card of a folder"
    add("--data-licence", metavar="TEXT", default="", help=licence)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parse(parser, argv)
    if args.quantization and args.format != CTRANSLATE2:
        parser.error("--quantization is for --format ctranslate2")
    if args.half and args.format != CHECKPOINT:
        parser.error(f"--half is for checkpoints; with --format {CTRANSLATE2} give --quantization float16")
    if args.data_licence and args.format == CHECKPOINT:
        parser.error("--data-licence stands in the card that the other formats have")
    if args.format != CHECKPOINT:
        check_new_folder(args.output)
    import fairseq  # noqa: F401  the plugin registers before its parts are asked for

    if args.format == CHECKPOINT:
        export_checkpoint(args.checkpoint, args.output, args.half, _text(args))
        written = [args.output]
    else:
        _export_folder(args)
        written = [os.path.join(args.output, name) for name in os.listdir(args.output)]
    before, after = size_in_megabytes([args.checkpoint]), size_in_megabytes(written)
    print(f"{args.checkpoint}: {before:.1f} MB\n{args.output}: {after:.1f} MB ({after / before:.0%})")


def _text(args: argparse.Namespace) -> dict | None:
    """What travels with the checkpoint; None if it is nowhere, which fairseq's own decoding can do with."""
    from ..serving.facts import facts_of_checkpoint

    state = load_checkpoint(args.checkpoint)
    try:
        return facts_of_checkpoint(state, args.checkpoint, args.data, args.tokenizer).record()
    except IkdError as error:
        if args.data or args.tokenizer:
            raise
        logger.warning("ikd-translate will want --data for this file: %s", error)
        return None


def _export_folder(args: argparse.Namespace) -> None:
    require(*_NEEDED[args.format], who=f"--format {args.format}", extra="serving")
    from ..serving.facts import facts_of_checkpoint
    from ..serving.model_card import Card

    state: State = load_checkpoint(args.checkpoint)
    facts = facts_of_checkpoint(state, args.checkpoint, args.data, args.tokenizer)
    name = architecture_of(state) or "the model"
    title = os.path.basename(os.path.abspath(args.output))
    card = Card.of_checkpoint(args.checkpoint, title, name, args.data_licence)
    if args.format == ONNX:
        from ..serving.onnx_export import export_onnx

        return export_onnx(args.checkpoint, args.output, facts, card, name)
    passed = (args.checkpoint, args.output, facts, card, name, f"{CHECKPOINT} or {ONNX}")
    if args.format == HUGGINGFACE:
        from ..serving.huggingface import export_huggingface

        export_huggingface(*passed)
    else:
        from ..serving.ctranslate2_export import export_ctranslate2

        export_ctranslate2(*passed, quantization=args.quantization)
