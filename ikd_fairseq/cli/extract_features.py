"""``ikd-extract-features``: what a frozen image encoder makes of a split, or published features."""

import argparse
import logging
from collections.abc import Sequence

from ..data.feature_extraction import extract_features
from ..data.feature_import import import_features
from ..data.feature_pack import BY_IMAGE, BY_SENTENCE
from ..data.published_features import LAYOUTS
from ..errors import check, command
from .arguments import given, parse
from .cnn_arguments import CNN_OPTIONS, add_cnn_arguments

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-extract-features",
        description="Write SPLIT.features.NAME.npy beside the binarised text: maps or tokens that a frozen "
        "encoder makes of the image pack, or features that others published (--from-file).",
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    add("--split", required=True, help="train, valid, test, test1, ...")
    add("--name", help="name of the features, which --image-features takes (default: the backbone's)")
    group = parser.add_argument_group("from the image pack")
    add_cnn_arguments(group)
    stage = "stage of a listed CNN whose map is taken, such as layer3 or res4f (default: the last one)"
    group.add_argument("--stage", metavar="NAME", help=stage)
    add = parser.add_argument_group("from a file").add_argument
    add(
        "--from-file",
        metavar="FILE",
        help="floats that others published, by image or by sentence: rows x C (one vector each), rows x P x "
        "C (P regions of C channels) or rows x C x H x W (maps, whose H*W positions become regions, row by "
        "row), in .npy, .pt or .pth (a tensor), .h5 or .hdf5, or a folder of one .npy an image; needs --name",
    )
    rows = "what its rows stand for (default: whichever of the two has their number)"
    add("--rows", choices=[BY_SENTENCE, BY_IMAGE], help=rows)
    layout = "whether its channels come before its regions or behind them (default: told by its shape)"
    add("--layout", choices=LAYOUTS, help=layout)
    dataset = "which array, of an HDF5 file or a dict of tensors that holds several"
    add("--dataset", metavar="NAME", help=dataset)
    names = "for a folder: line i names the image of sentence i, as for ikd-pack-images; NAME.npy is its file"
    add("--list", metavar="FILE", help=names)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    if args.from_file is None:
        about_files = given(args, "rows", "layout", "dataset", "list")
        check(not about_files, f"{about_files}: only for --from-file")
        names = (*CNN_OPTIONS, "stage")
        options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        pack = extract_features(args.data, args.split, name=args.name, **options)
    else:
        check(args.name is not None, "--from-file needs --name: what to call these features")
        running = given(args, *CNN_OPTIONS, "stage")
        check(not running, f"--from-file runs no CNN: drop {running}")
        told = (args.rows, args.layout, args.dataset, args.list)
        pack = import_features(args.data, args.split, args.from_file, args.name, *told)
    found = f"{pack.regions} regions of {pack.channels} channels"
    found += f", for {pack.coverage} of {len(pack)} sentences"
    logger.info("%s: features %r, %s", pack.prefix, pack.name, found)
