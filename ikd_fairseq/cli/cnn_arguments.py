"""The options of the commands that run a frozen CNN over images."""

import argparse

from ..data.feature_extraction import DEFAULT_BACKBONE
from ..vision.backbones import BACKBONES
from .arguments import positive_int

CNN_OPTIONS = ("backbone", "backbone_weights", "batch_size", "device")


def add_cnn_arguments(group: argparse._ArgumentGroup) -> None:
    """Adds the options; their defaults, None, stand for those of the library."""
    add = group.add_argument
    add(
        "--backbone",
        metavar="NAME",
        help=f"frozen encoder: {', '.join(BACKBONES)}, or timm:NAME, any that timm.list_models() names "
        f"(default: {DEFAULT_BACKBONE})",
    )
    add(
        "--backbone-weights",
        metavar="imagenet|random|FILE",
        help="its weights; imagenet: the published ones (default)",
    )
    add("--batch-size", type=positive_int, metavar="N", help="images at a time (default: 64)")
    add("--device", choices=["cpu", "cuda"], help="where it runs (default: cpu)")
