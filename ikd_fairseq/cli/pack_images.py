"""``ikd-pack-images``: from an image folder and a list, one name a sentence, to the image pack of a split."""

import argparse
import logging
import os
from collections.abc import Sequence

from ..data.image_packing import pack_images
from ..errors import command
from ..io.progress import progress
from .arguments import parse, positive_int

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-pack-images",
        description="Pack the images of a split beside its binarised text: SPLIT.images.npy, .index.npy and "
        ".json. An interrupted run goes on where it stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    add("--split", required=True, help="train, valid, test, test1, ...")
    names = "one image name a line, line i for sentence i; an empty line is a sentence without an image; a "
    names += "caption number (name.jpg#3) is ignored"
    add("--list", required=True, metavar="FILE", help=names)
    add("--images", required=True, metavar="FOLDER", help="folder with the images")
    add("--image-size", type=positive_int, default=224, metavar="PIXELS", help="height and width")
    add("--allow-missing", action="store_true", help="use sentences whose image is missing without one")
    # Those that a job may use, where the system tells.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    add("--workers", type=positive_int, default=processors, metavar="N", help="decoding processes")
    add("--verify", action="store_true", help="read the finished pack back and compare its SHA-256")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    pack = pack_images(
        args.data, args.split, args.list, args.images, args.image_size, args.allow_missing, args.workers
    )
    if args.verify:
        with progress(None, total=pack.nbytes, desc="verifying", unit="B", unit_scale=True) as bar:
            pack.verify(bar.update)
        logger.info("%s agrees with its recorded SHA-256", pack.prefix)
