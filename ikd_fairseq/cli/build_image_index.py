"""``ikd-build-image-index``: makes of captions and images what finds images for a sentence that has none."""

import argparse
from collections.abc import Sequence

from ..data.feature_extraction import DEFAULT_BACKBONE
from ..errors import check, command
from ..io.progress import set_up_logging
from ..modules.image_index import KINDS
from ..modules.image_index_builder import build_image_index
from ..vision.backbones import BACKBONES
from .arguments import positive_float, positive_int, share


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-build-image-index``."""
    parser = argparse.ArgumentParser(
        prog="ikd-build-image-index",
        description="Write DATA/image-index.RETRIEVER.pt, in which retrieval_transformer looks up images for "
        "sentences that have none, from the sentences of a split and their images. It belongs to the source "
        "dictionary of DATA and is refused beside another one.",
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument(
        "--retriever",
        required=True,
        choices=list(KINDS),
        help="topic: table from words to images (UVR-NMT); dense: embeddings of words and images (RMMT)",
    )
    parser.add_argument("--split", default="train", help="whose sentences and images (default: %(default)s)")
    parser.add_argument(
        "--source-lang",
        metavar="LANG",
        help="language that is translated from (default: by the files' names)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="file to write (default: DATA/image-index.RETRIEVER.pt)"
    )

    images = parser.add_argument_group("vectors of the images, means over a frozen CNN's last map")
    images.add_argument(
        "--image-features",
        metavar="NAME",
        help="take SPLIT.features.NAME.npy, which ikd-extract-features wrote, and run no CNN",
    )
    images.add_argument(
        "--backbone", choices=list(BACKBONES), help=f"frozen CNN (default: {DEFAULT_BACKBONE})"
    )
    images.add_argument(
        "--backbone-weights", metavar="imagenet|random|FILE", help="its weights (default: imagenet)"
    )
    images.add_argument("--batch-size", type=positive_int, metavar="N", help="images at a time (default: 64)")
    images.add_argument("--device", choices=["cpu", "cuda"], help="where it runs (default: cpu)")

    topic = parser.add_argument_group("--retriever topic")
    topic.add_argument(
        "--topics", type=positive_int, metavar="W", help="topic words of a sentence (default: 8)"
    )
    topic.add_argument(
        "--stop-share",
        type=share,
        metavar="SHARE",
        help="a word that a larger share of the sentences has is no topic (default: 0.2)",
    )

    dense = parser.add_argument_group("--retriever dense")
    dense.add_argument("--width", type=positive_int, metavar="E", help="of the common space (default: 128)")
    dense.add_argument(
        "--epochs", type=positive_int, metavar="N", help="passes over the sentences (default: 20)"
    )
    dense.add_argument(
        "--temperature", type=positive_float, metavar="T", help="of the contrastive loss (default: 0.07)"
    )
    dense.add_argument("--seed", type=int, metavar="N", help="of weights and order (default: 1)")
    return parser


_CNN_OPTIONS = ("backbone", "backbone_weights", "batch_size", "device")
_OPTIONS = {"topic": ("topics", "stop_share"), "dense": ("width", "epochs", "temperature", "seed")}


def _flags(names: Sequence[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-build-image-index``."""
    args = build_parser().parse_args(argv)
    set_up_logging()
    given = {name: value for name, value in vars(args).items() if value is not None}
    (other,) = set(KINDS) - {args.retriever}
    foreign = [name for name in _OPTIONS[other] if name in given]
    check(not foreign, f"{_flags(foreign)}: only for --retriever {other}")
    if args.image_features is not None:
        running = [name for name in _CNN_OPTIONS if name in given]
        check(not running, f"--image-features runs no CNN: drop {_flags(running)}")
    build_image_index(given.pop("data"), **given)
