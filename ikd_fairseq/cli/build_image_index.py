"""``ikd-build-image-index``: makes of captions and images what finds images for a sentence that has none."""

import argparse
from collections.abc import Sequence

from ..errors import check, command
from ..modules.image_index import KINDS
from ..modules.image_index_builder import build_image_index
from .arguments import given, parse, positive_float, positive_int, share
from .cnn_arguments import CNN_OPTIONS, add_cnn_arguments


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-build-image-index",
        description="Write DATA/image-index.RETRIEVER.pt, in which retrieval_transformer looks up images for "
        "sentences that have none, from the sentences of a split and their images. It belongs to the source "
        "dictionary of DATA and is refused beside another one.",
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    kinds = "topic: table from words to images (UVR-NMT); dense: embeddings of words and images (RMMT)"
    add("--retriever", required=True, choices=list(KINDS), help=kinds)
    add("--split", default="train", help="whose sentences and images (default: %(default)s)")
    source = "language that is translated from (default: by the files' names)"
    add("--source-lang", metavar="LANG", help=source)
    add("--output", metavar="FILE", help="file to write (default: DATA/image-index.RETRIEVER.pt)")

    images = parser.add_argument_group("vectors of the images, means over a frozen CNN's last map")
    features = "take SPLIT.features.NAME.npy, which ikd-extract-features wrote, and run no CNN"
    images.add_argument("--image-features", metavar="NAME", help=features)
    add_cnn_arguments(images)

    add = parser.add_argument_group("--retriever topic").add_argument
    add("--topics", type=positive_int, metavar="W", help="topic words of a sentence (default: 8)")
    words = (
        "words that are no topics: english (a list of the package), or a file of one a line (default: none)"
    )
    add("--stop-words", metavar="english|FILE", help=words)
    stop = "a word that a larger share of the sentences has is no topic (default: 0.2; with --stop-words: 1)"
    add("--stop-share", type=share, metavar="SHARE", help=stop)

    add = parser.add_argument_group("--retriever dense").add_argument
    add("--width", type=positive_int, metavar="E", help="of the common space (default: 128)")
    add("--epochs", type=positive_int, metavar="N", help="passes over the sentences (default: 20)")
    add("--temperature", type=positive_float, metavar="T", help="of the contrastive loss (default: 0.07)")
    add("--seed", type=int, metavar="N", help="of weights and order (default: 1)")
    return parser


_OPTIONS = {
    "topic": ("topics", "stop_share", "stop_words"),
    "dense": ("width", "epochs", "temperature", "seed"),
}


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    (other,) = set(KINDS) - {args.retriever}
    foreign = given(args, *_OPTIONS[other])
    check(not foreign, f"{foreign}: only for --retriever {other}")
    running = given(args, *CNN_OPTIONS)
    check(args.image_features is None or not running, f"--image-features runs no CNN: drop {running}")
    options = {name: value for name, value in vars(args).items() if value is not None}
    build_image_index(options.pop("data"), **options)
