"""``ikd-extract-features``: a frozen CNN's last convolutional maps, or published features, of a split."""

import argparse
import logging
from collections.abc import Sequence

from ..data.feature_extraction import extract_features, import_features
from ..data.feature_pack import BY_IMAGE, BY_SENTENCE
from ..errors import check, command
from .arguments import given, parse
from .cnn_arguments import CNN_OPTIONS, add_cnn_arguments

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-extract-features",
        description="Write SPLIT.features.NAME.npy beside the binarised text: a frozen CNN's last "
        "convolutional maps of the image pack, or features that others published (--from-file).",
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    add("--split", required=True, help="train, valid, test, test1, ...")
    add("--name", help="name of the features, which --image-features takes (default: the backbone's)")
    add_cnn_arguments(parser.add_argument_group("from the image pack"))
    add = parser.add_argument_group("from a file").add_argument
    floats = ".npy of floats: rows x C (one vector each), rows x P x C (P regions of C channels) or rows x C "
    floats += "x H x W (maps, such as N x 2048 x 7 x 7; their H*W positions become regions, row by row); "
    add("--from-file", metavar="FILE", help=f"{floats}needs --name")
    rows = "what its rows stand for (default: whichever of the two has their number)"
    add("--rows", choices=[BY_SENTENCE, BY_IMAGE], help=rows)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    if args.from_file is None:
        check(args.rows is None, "--rows tells what the rows of --from-file stand for: give both or neither")
        options = {name: getattr(args, name) for name in CNN_OPTIONS if getattr(args, name) is not None}
        pack = extract_features(args.data, args.split, name=args.name, **options)
    else:
        check(args.name is not None, "--from-file needs --name: what to call these features")
        running = given(args, *CNN_OPTIONS)
        check(not running, f"--from-file runs no CNN: drop {running}")
        pack = import_features(args.data, args.split, args.from_file, args.name, args.rows)
    found = f"{pack.regions} regions of {pack.channels} channels"
    found += f", for {pack.coverage} of {len(pack)} sentences"
    logger.info("%s: features %r, %s", pack.prefix, pack.name, found)
