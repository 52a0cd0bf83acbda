"""``ikd-extract-features``: a frozen CNN's last convolutional maps, or published features, of a split."""

import argparse
import logging

from ..data.feature_extraction import DEFAULT_BACKBONE, extract_features, import_features
from ..data.feature_pack import BY_IMAGE, BY_SENTENCE
from ..errors import check, command
from ..io.progress import set_up_logging
from ..vision.backbones import BACKBONES
from .arguments import positive_int

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-extract-features``."""
    parser = argparse.ArgumentParser(
        prog="ikd-extract-features",
        description="Write SPLIT.features.NAME.npy beside the binarised text: a frozen CNN's last "
        "convolutional maps of the image pack, or features that others published (--from-file).",
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--split", required=True, help="train, valid, test, test1, ...")
    parser.add_argument(
        "--name", help="name of the features, which --image-features takes (default: the backbone's)"
    )

    cnn = parser.add_argument_group("from the image pack")
    cnn.add_argument("--backbone", choices=list(BACKBONES), help=f"frozen CNN (default: {DEFAULT_BACKBONE})")
    cnn.add_argument(
        "--backbone-weights", metavar="imagenet|random|FILE", help="its weights (default: imagenet)"
    )
    cnn.add_argument("--batch-size", type=positive_int, metavar="N", help="images at a time (default: 64)")
    cnn.add_argument("--device", choices=["cpu", "cuda"], help="where it runs (default: cpu)")

    published = parser.add_argument_group("from a file")
    published.add_argument(
        "--from-file",
        metavar="FILE",
        help=".npy of floats: rows x C (one vector each), rows x P x C (P regions of C channels) or rows "
        "x C x H x W (maps, such as N x 2048 x 7 x 7; their H*W positions become regions, row by row); "
        "needs --name",
    )
    published.add_argument(
        "--rows",
        choices=[BY_SENTENCE, BY_IMAGE],
        help="what its rows stand for (default: whichever of the two has their number)",
    )
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-extract-features``."""
    args = build_parser().parse_args(argv)
    set_up_logging()
    cnn_options = {
        "backbone_name": args.backbone,
        "weights": args.backbone_weights,
        "batch_size": args.batch_size,
        "device": args.device,
    }
    cnn_options = {key: value for key, value in cnn_options.items() if value is not None}
    if args.from_file is None:
        check(args.rows is None, "--rows tells what the rows of --from-file stand for: give both or neither")
        pack = extract_features(args.data, args.split, name=args.name, **cnn_options)
    else:
        check(args.name is not None, "--from-file needs --name: what to call these features")
        check(
            not cnn_options,
            "--from-file runs no CNN: drop --backbone, --backbone-weights, --batch-size and --device",
        )
        pack = import_features(args.data, args.split, args.from_file, args.name, args.rows)
    logger.info(
        "%s: features %r, %d regions of %d channels, for %d of %d sentences",
        pack.prefix,
        pack.name,
        pack.regions,
        pack.channels,
        pack.coverage,
        len(pack),
    )
